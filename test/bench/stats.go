package main

import (
	"math"
	"slices"
	"time"
)

// A spread is what a figure was over all rounds.
type spread struct{ median, least, most float64 }

// spreadOf has the median of an even number of figures between the two in the middle. Without
// figures everything is zero.
func spreadOf(figures []float64) spread {
	if len(figures) == 0 {
		return spread{}
	}
	s := slices.Sorted(slices.Values(figures))
	n := len(s)
	return spread{median: (s[(n-1)/2] + s[n/2]) / 2, least: s[0], most: s[n-1]}
}

// percentile is the nearest-rank percentile of sorted durations: the least one that at least p of
// them do not exceed, 0 < p <= 1. Without durations it is zero.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// ratio is a/b, and zero where b is.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// A sample is one side of one round.
type sample struct {
	rate     float64 // answers per second
	p50, p99 time.Duration
	cpu      time.Duration // of the measured process, per answer; 0 where the system does not tell
	busy     float64       // cores that the measured process used
	driving  float64       // cores that the generator used
}

// A round is what the two sides did next to each other.
type round struct {
	base, ours sample
	syncs      float64 // of the disk per second; 0 where it does not matter
}

// over gathers one figure of all rounds.
func over(rounds []round, figure func(round) float64) spread {
	figures := make([]float64, 0, len(rounds))
	for _, r := range rounds {
		figures = append(figures, figure(r))
	}
	return spreadOf(figures)
}

// summary is the median sample of one side.
func summary(rounds []round, side func(round) sample) sample {
	of := func(figure func(sample) float64) float64 {
		return over(rounds, func(r round) float64 { return figure(side(r)) }).median
	}
	return sample{
		rate:    of(func(s sample) float64 { return s.rate }),
		p50:     time.Duration(of(func(s sample) float64 { return float64(s.p50) })),
		p99:     time.Duration(of(func(s sample) float64 { return float64(s.p99) })),
		cpu:     time.Duration(of(func(s sample) float64 { return float64(s.cpu) })),
		busy:    of(func(s sample) float64 { return s.busy }),
		driving: of(func(s sample) float64 { return s.driving }),
	}
}

func base(r round) sample { return r.base }
func ours(r round) sample { return r.ours }
