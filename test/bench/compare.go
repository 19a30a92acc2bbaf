package main

import (
	"context"
	"fmt"
	"time"
)

// compare measures a row's load in rounds: base, server, base, server, …
func compare(ctx context.Context, b *bench, r row) ([]line, error) {
	ours, stop, err := b.serve(ctx, r.at, r.load)
	if err != nil {
		return nil, err
	}
	defer stop()
	base, stopBase, err := b.serveBase(ctx, r, ours)
	if err != nil {
		return nil, err
	}
	defer stopBase()
	rounds := make([]round, 0, b.rounds)
	for n := range b.rounds {
		b.progress("%s: round %d of %d", r.work, n+1, b.rounds)
		one, err := b.round(ctx, r, base, ours)
		if err != nil {
			return nil, fmt.Errorf("round %d: %w", n+1, err)
		}
		rounds = append(rounds, one)
	}
	b.noteLimit(r, rounds)
	return compared(r, rounds), nil
}

func (b *bench) round(ctx context.Context, r row, base, ours *target) (one round, err error) {
	if one.base, err = base.measure(ctx, r.connections, b.duration); err != nil {
		return one, fmt.Errorf("%s: %w", r.baseName(), err)
	}
	if one.ours, err = ours.measure(ctx, r.connections, b.duration); err != nil {
		return one, fmt.Errorf("server: %w", err)
	}
	if r.syncLeast > 0 {
		one.syncs, err = b.syncRate()
	}
	return one, err
}

// serve runs a deployment with a load.
func (b *bench) serve(ctx context.Context, at place, load func(*target, int) (load, error)) (*target, func(), error) {
	d, err := b.deployment(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	p, t, err := d.run(ctx)
	if err != nil {
		return nil, nil, err
	}
	if t.load, err = load(t, at.secrets); err != nil {
		p.stop()
		return nil, nil, err
	}
	return t, p.stop, nil
}

// serveBase runs what the server is compared with.
func (b *bench) serveBase(ctx context.Context, r row, ours *target) (*target, func(), error) {
	if r.against != (place{}) {
		return b.serve(ctx, r.against, r.load)
	}
	c, err := b.newCeiling(ours)
	if err != nil {
		return nil, nil, err
	}
	p, t, err := c.run(ctx, ours.load)
	if err != nil {
		return nil, nil, err
	}
	return t, p.stop, nil
}

func (r row) baseName() string {
	if r.against != (place{}) {
		return count(float64(r.against.secrets)) + " secrets"
	}
	return "ceiling"
}

// fullyUsed is the part of a core's time from which on it counts as the limit.
const fullyUsed = 0.9

// noteLimit says where a load of many connections did not fill the ceiling's cores: then something
// else was the ceiling's limit, and the ceiling is higher than measured.
func (b *bench) noteLimit(r row, rounds []round) {
	s := summary(rounds, base)
	theirs, generators := s.busy/float64(len(b.cores.server)), s.driving/float64(len(b.cores.generator))
	switch {
	case len(b.cores.server) == 0 || r.connections == 1 || r.against != (place{}) || theirs == 0 || theirs >= fullyUsed:
	case generators >= fullyUsed:
		b.note(fmt.Sprintf("%s: the generator was the ceiling's limit (ceiling at %.0f %% of its cores): the true ratio is lower", r.work, 100*theirs))
	default:
		b.note(fmt.Sprintf("%s: other work disturbed the machine (ceiling at %.0f %% of its cores, generator at %.0f %%)", r.work, 100*theirs, 100*generators))
	}
}

// compared turns rounds into lines of the report.
func compared(r row, rounds []round) []line {
	b, o := summary(rounds, base), summary(rounds, ours)
	cpu := over(rounds, func(r round) float64 { return ratio(float64(r.ours.cpu), float64(r.base.cpu)) })
	lines := []line{{
		work: r.work, measured: count(o.rate) + "/s", against: r.baseName() + " " + count(b.rate) + "/s",
		ratio:  over(rounds, func(r round) float64 { return ratio(r.ours.rate, r.base.rate) }),
		target: atLeast(r.least), latency: fmt.Sprintf("%s / %s (%s / %s)", millis(o.p50), millis(o.p99), millis(b.p50), millis(b.p99)),
		cpu: perAnswer(o.cpu, b.cpu, cpu),
	}}
	if r.cpuMost > 0 && o.cpu > 0 {
		lines = append(lines, line{
			work: r.work + ": server CPU per request", measured: micros(o.cpu), against: r.baseName() + " " + micros(b.cpu),
			ratio: cpu, target: atMost(r.cpuMost),
		})
	}
	if r.syncLeast > 0 {
		syncs := over(rounds, func(r round) float64 { return r.syncs })
		lines = append(lines, line{
			work: r.work + ": per sync of the disk", measured: count(o.rate) + "/s", against: "disk " + count(syncs.median) + " syncs/s",
			ratio: over(rounds, func(r round) float64 { return ratio(r.ours.rate, r.syncs) }), target: atLeast(r.syncLeast),
		})
	}
	return lines
}

func perAnswer(server, base time.Duration, times spread) string {
	if server == 0 {
		return ""
	}
	return fmt.Sprintf("%s (%s, %.2f ×)", micros(server), micros(base), times.median)
}
