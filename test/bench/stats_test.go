package main

import (
	"slices"
	"testing"
	"time"
)

func TestSpreadOf(t *testing.T) {
	for _, tt := range []struct {
		in   []float64
		want spread
	}{
		{nil, spread{}},
		{[]float64{0.4}, spread{0.4, 0.4, 0.4}},
		{[]float64{3, 1, 2}, spread{2, 1, 3}},
		{[]float64{4, 1, 3, 2}, spread{2.5, 1, 4}},
	} {
		before := slices.Clone(tt.in)
		if got := spreadOf(tt.in); got != tt.want {
			t.Errorf("spreadOf(%v) = %v, want %v", tt.in, got, tt.want)
		}
		if !slices.Equal(tt.in, before) {
			t.Errorf("spreadOf(%v) changed its argument to %v", before, tt.in)
		}
	}
}

func TestPercentile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	for _, tt := range []struct {
		in   []time.Duration
		p    float64
		want time.Duration
	}{
		{nil, 0.5, 0},
		{hundred[:1], 0.99, 1},
		{hundred[:2], 0.5, 1},
		{hundred[:3], 0.5, 2},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
	} {
		if got := percentile(tt.in, tt.p); got != tt.want {
			t.Errorf("percentile of %d durations, %v = %d, want %d", len(tt.in), tt.p, got, tt.want)
		}
	}
}

func TestNewSample(t *testing.T) {
	got := newSample([]time.Duration{30, 10, 20, 40}, clocks{server: time.Second, generator: 500 * time.Millisecond, at: 2 * time.Second})
	want := sample{rate: 2, p50: 20, p99: 40, cpu: 250 * time.Millisecond, busy: 0.5, driving: 0.25}
	if got != want {
		t.Errorf("newSample = %+v, want %+v", got, want)
	}
	if got := newSample(nil, clocks{at: time.Second}); got != (sample{}) {
		t.Errorf("newSample of nothing = %+v, want zero", got)
	}
}

// TestCompared judges the median of the rounds' own ratios, not the ratio of medians.
func TestCompared(t *testing.T) {
	rounds := []round{
		{base: sample{rate: 100, cpu: 10}, ours: sample{rate: 50, cpu: 20}, syncs: 10},
		{base: sample{rate: 1000, cpu: 10}, ours: sample{rate: 600, cpu: 15}, syncs: 20},
		{base: sample{rate: 200, cpu: 10}, ours: sample{rate: 140, cpu: 16}, syncs: 70},
	}
	lines := compared(row{work: "w", least: 0.55, cpuMost: 1.5, syncLeast: 6}, rounds)
	for i, want := range []struct {
		ratio   spread
		verdict string
	}{
		{spread{0.6, 0.5, 0.7}, "met"},
		{spread{1.6, 1.5, 2}, "missed"},
		{spread{5, 2, 30}, "missed"},
	} {
		if lines[i].ratio != want.ratio || lines[i].verdict() != want.verdict {
			t.Errorf("%s: %v %s, want %v %s", lines[i].work, lines[i].ratio, lines[i].verdict(), want.ratio, want.verdict)
		}
	}
	if got := len(compared(row{work: "w"}, rounds)); got != 1 {
		t.Errorf("a row that demands nothing has %d lines, want 1", got)
	}
}
