package server

import (
	"testing"
	"time"

	"strongroom/internal/fair"
)

// The width is the time of a commit divided by that of a read, for each processor: package fair says why.
func TestWidthFollowsTheDisk(t *testing.T) {
	for _, tt := range []struct {
		commit     time.Duration
		processors int
		want       int
	}{
		{100 * time.Microsecond, 1, 4}, // a disk in memory
		{400 * time.Microsecond, 1, 5},
		{400 * time.Microsecond, 4, 20},
		{2 * time.Millisecond, 1, 25},
		{2 * time.Millisecond, 2, 50},
		{30 * time.Millisecond, 8, 64}, // one that turns
	} {
		if got := sharedFor(tt.commit, tt.processors); got != tt.want {
			t.Errorf("%s and %d processors: %d, want %d", tt.commit, tt.processors, got, tt.want)
		}
	}
}

// One slow commit, or many while the processors are busy, do not widen the gate.
func TestWidthGoesByTheShortest(t *testing.T) {
	gate := fair.NewGate(fair.Limits{Inside: 128, Shared: 1})
	var w width
	w.gate.Store(gate)
	for range widthEvery - 1 {
		w.commit(10 * time.Second)
	}
	w.commit(time.Microsecond)
	enter := func(key string) bool {
		slot, err := gate.Enter(t.Context(), key)
		t.Cleanup(slot.Leave)
		return err == nil
	}
	enter("another") // from here on several are about
	n := 0
	for enter("one") {
		n++
	}
	if n != leastShared-1 {
		t.Errorf("%d of one caller are inside beside another's, want %d", n, leastShared-1)
	}
}
