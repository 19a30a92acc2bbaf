package main

import (
	"context"
	"fmt"
	"time"
)

// Bounds of a start: as a multiple of the bare handler's, and in time.
const (
	startMost     = 4
	startMostTime = 40 * time.Millisecond
)

// measureStart measures from the start of the process to the first secret that it answers with.
func measureStart(ctx context.Context, b *bench, r row) ([]line, error) {
	d, err := b.deployment(ctx, r.at)
	if err != nil {
		return nil, err
	}
	p, server, err := d.run(ctx)
	if err != nil {
		return nil, err
	}
	bare, err := b.newCeiling(server)
	p.stop()
	if err != nil {
		return nil, err
	}
	atCeiling := &target{endpoint: bare.endpoint, load: server.load}
	var ratios, ours, base []float64
	for n := range b.rounds {
		b.progress("%s: round %d of %d", r.work, n+1, b.rounds)
		theirs, err := timeStart(ctx, bare.start, atCeiling)
		if err != nil {
			return nil, fmt.Errorf("start the ceiling: %w", err)
		}
		took, err := timeStart(ctx, func() (*process, error) { return d.start() }, server)
		if err != nil {
			return nil, fmt.Errorf("start the server: %w", err)
		}
		ratios = append(ratios, ratio(float64(took), float64(theirs)))
		ours, base = append(ours, float64(took)/1e6), append(base, float64(theirs)/1e6)
	}
	return started(r, spreadOf(ratios), spreadOf(ours), spreadOf(base)), nil
}

// timeStart starts a process, waits for its first right answer, and stops it.
func timeStart(ctx context.Context, start func() (*process, error), t *target) (time.Duration, error) {
	began := time.Now()
	p, err := start()
	if err != nil {
		return 0, err
	}
	defer p.stop()
	err = t.waitFirst(ctx, p)
	return time.Since(began), err
}

// started makes the lines; times are in milliseconds.
func started(r row, ratios, ours, base spread) []line {
	return []line{
		{
			work: r.work, measured: fmt.Sprintf("%.1f ms", ours.median),
			against: fmt.Sprintf("bare handler %.1f ms", base.median), ratio: ratios, target: atMost(startMost),
		},
		{
			work: r.work + ": time", measured: fmt.Sprintf("%.1f ms (%.1f … %.1f)", ours.median, ours.least, ours.most),
			value: ours.median, target: goal{text: "≤ 40 ms", most: float64(startMostTime.Milliseconds())},
		},
	}
}
