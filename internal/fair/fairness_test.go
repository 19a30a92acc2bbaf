package fair

import (
	"testing"
	"time"
)

// gates makes a model with a gate of 64 slots, 4 while shared, and 2 for writes.
func gates() *model {
	wide := NewGate(Limits{Inside: 64, Shared: 4, Waiting: 4096})
	return &model{wide: wide, writes: wide.Beside(Limits{Inside: 64, Shared: 2, Waiting: 4096})}
}

func noGates() *model { return &model{} }

func wideOnly() *model {
	return &model{wide: NewGate(Limits{Inside: 64, Waiting: 4096})}
}

func narrowOnly() *model {
	return &model{narrow: NewGate(Limits{Inside: 4, Waiting: 4096})}
}

// TestOthersLatency compares the p99 of a caller with one connection beside one with 50 to what
// it is without him. What is not protected must lie beyond the bound, or the model cannot tell.
func TestOthersLatency(t *testing.T) {
	const bound = 2.25
	for _, tt := range []struct {
		name         string
		make         func() *model
		reader, busy bool // the other reads; the busy caller reads
		protected    bool
	}{
		{"no gate", noGates, true, true, false},
		{"a wide gate", wideOnly, true, true, false},
		{"a narrow gate left before the commit", narrowOnly, true, true, false},
		{"reads beside reads", gates, true, true, true},
		{"writes beside reads", gates, false, true, true},
		{"no gate, busy writer", noGates, true, false, false},
		{"reads beside writes", gates, true, false, true},
		{"writes beside writes", gates, false, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			other, busy := group{"other", 1, !tt.reader}, group{"busy", 50, !tt.busy}
			quiet, loaded := tt.make(), tt.make()
			quiet.sync, loaded.sync = 300*time.Microsecond, 300*time.Microsecond
			before := p99(quiet.run(t, other)[0])
			after := p99(loaded.run(t, other, busy)[0])
			ratio := float64(after) / float64(before)
			t.Logf("p99 = %s, %.2f times the quiet %s", after, ratio, before)
			if (ratio <= bound) != tt.protected {
				t.Errorf("p99 = %s, %.2f times the quiet %s; within %g: want %v", after, ratio, before, bound, tt.protected)
			}
		})
	}
}

// A caller who is alone loses nothing to the gates.
func TestAloneAtFullSpeed(t *testing.T) {
	for _, write := range []bool{false, true} {
		rate := func(m *model) int {
			m.sync = 300 * time.Microsecond
			return len(m.run(t, group{"alone", 64, write})[0])
		}
		with, without := rate(gates()), rate(noGates())
		if float64(with) < 0.95*float64(without) {
			t.Errorf("write %v: %d requests a second with gates, %d without", write, with, without)
		}
	}
}

// Among callers who are all busy, each gets the same, however many connections it has.
func TestEqualShares(t *testing.T) {
	m := gates()
	m.sync = 300 * time.Microsecond
	got := m.run(t, group{"a", 100, false}, group{"b", 20, false}, group{"c", 20, false})
	for i, took := range got {
		if mean := (len(got[0]) + len(got[1]) + len(got[2])) / 3; len(took) < mean*8/10 || len(took) > mean*12/10 {
			t.Errorf("caller %d had %d requests answered, the mean is %d", i, len(took), mean)
		}
	}
}
