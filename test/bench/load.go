package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A load is a mix of requests.
type load struct {
	reads    []*request
	writes   []*request
	putShare float64 // of writes among all
}

// pick chooses a worker's next request: any read, or a write of the worker's own, since two
// clients that write the same secret at once are no ordinary work.
func (l *load) pick(rng *rand.Rand, worker, workers int) *request {
	if len(l.writes) > 0 && (l.putShare >= 1 || rng.Float64() < l.putShare) {
		return l.writes[(worker+workers*rng.IntN(max(1, len(l.writes)/workers)))%len(l.writes)]
	}
	return l.reads[rng.IntN(len(l.reads))]
}

// all lists every request that may be picked.
func (l *load) all() []*request { return slices.Concat(l.reads, l.writes) }

// A target is a process that answers, with what it is asked.
type target struct {
	endpoint
	pid  int
	load load
}

// Phases of a measurement, in order.
const (
	warming int32 = iota
	measuring
	finished
)

// A measurement is a load under way.
type measurement struct {
	phase atomic.Int32
	mu    sync.Mutex
	took  []time.Duration // guarded by mu; of answers that came while measuring
	err   error           // guarded by mu; the first one
}

// patience is what the slowest answer may take before the measurement fails.
const patience = 60 * time.Second

// measure keeps the connections busy, closed loop, and reports on the given duration after a
// warm-up. One wrong answer is an error.
func (t *target) measure(ctx context.Context, connections int, duration time.Duration) (sample, error) {
	clients, err := t.connect(connections, time.Now().Add(2*duration+patience))
	if err != nil {
		return sample{}, err
	}
	var m measurement
	var workers sync.WaitGroup
	for i, c := range clients {
		workers.Go(func() { m.work(t, c, i, connections, duration) })
	}
	pause(ctx, min(duration/4, 500*time.Millisecond))
	began := readClocks(t.pid)
	m.phase.Store(measuring)
	pause(ctx, duration)
	m.phase.Store(finished)
	used := readClocks(t.pid).since(began)
	workers.Wait()
	if err := errors.Join(m.err, ctx.Err()); err != nil {
		return sample{}, err
	}
	return newSample(m.took, used), nil
}

// connect opens the connections before anything is measured.
func (t *target) connect(n int, deadline time.Time) (clients []*client, err error) {
	for range n {
		c, err := t.dial(deadline)
		if err != nil {
			for _, c := range clients {
				c.close()
			}
			return nil, fmt.Errorf("connect to %s: %w", t.address, err)
		}
		clients = append(clients, c)
	}
	return clients, nil
}

// work is one closed loop: the next request leaves when the last was answered.
func (m *measurement) work(t *target, c *client, worker, workers int, duration time.Duration) {
	defer c.close()
	rng := rand.New(rand.NewPCG(uint64(worker), 4))
	took := make([]time.Duration, 0, 1+int(duration/time.Second+1)*20_000/workers)
	for m.phase.Load() != finished {
		q := t.load.pick(rng, worker, workers)
		began := time.Now()
		_, err := c.must(q)
		if err != nil {
			m.fail(err)
			return
		}
		if m.phase.Load() == measuring {
			took = append(took, time.Since(began))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.took = append(m.took, took...)
}

// fail keeps the first error.
func (m *measurement) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.err = err
	}
}

// clocks are the CPU time of the measured process and of this one, and the time of day.
type clocks struct {
	server, generator time.Duration
	at                time.Duration
}

// running is when this process began to measure: durations since then are monotonic.
var running = time.Now()

func readClocks(pid int) clocks {
	return clocks{cpuTime(pid), cpuTime(os.Getpid()), time.Since(running)}
}

func (c clocks) since(earlier clocks) clocks {
	return clocks{c.server - earlier.server, c.generator - earlier.generator, c.at - earlier.at}
}

// newSample sorts took.
func newSample(took []time.Duration, used clocks) sample {
	slices.Sort(took)
	s := sample{
		rate: float64(len(took)) / used.at.Seconds(),
		p50:  percentile(took, 0.50), p99: percentile(took, 0.99),
		busy:    used.server.Seconds() / used.at.Seconds(),
		driving: used.generator.Seconds() / used.at.Seconds(),
	}
	if len(took) > 0 {
		s.cpu = used.server / time.Duration(len(took))
	}
	return s
}

// pause waits, or ends with the context.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
