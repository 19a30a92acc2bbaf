package fair

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A model is a server in model time: two processors that serve in order of arrival, as the
// scheduler of Go does roughly, and one committer whose commits are shared. Gates stand where the
// pipeline has them.
type model struct {
	wide   *Gate // from authentication to the answer
	narrow *Gate // left before the wait for the commit
	writes *Gate // around a write's wait for the commit

	cpu    *Gate // of one key: a plain queue
	sync   time.Duration
	commit chan *commitJob
}

type commitJob struct {
	cost time.Duration
	done chan struct{}
}

// Costs of the model's work.
const (
	costRead    = 35 * time.Microsecond // TLS, HTTP and authentication, before any gate
	costDecide  = 20 * time.Microsecond
	costAnswer  = 20 * time.Microsecond // encoding, TLS
	costRecord  = 2 * time.Microsecond  // an audit entry, in the committer
	costWrite   = 80 * time.Microsecond // a write's statements, in the committer
	costNetwork = 30 * time.Microsecond // outside the server
)

func pass(d time.Duration) { <-time.After(d) }

func (m *model) work(t *testing.T, d time.Duration) {
	slot := enter(t, m.cpu, "")
	pass(d)
	slot.Leave()
}

func enter(t *testing.T, g *Gate, key string) Slot {
	if g == nil {
		return Slot{}
	}
	slot, err := g.Enter(t.Context(), key)
	if err != nil {
		t.Error(err)
	}
	return slot
}

// committer merges what waits into one commit after another, as package db does.
func (m *model) committer(t *testing.T) {
	for first := range m.commit {
		batch := []*commitJob{first}
		for more := true; more && len(batch) < 256; {
			select {
			case j := <-m.commit:
				batch = append(batch, j)
			default:
				more = false
			}
		}
		var cost time.Duration
		for _, j := range batch {
			cost += j.cost
		}
		m.work(t, cost)
		pass(m.sync)
		for _, j := range batch {
			close(j.done)
		}
	}
}

func (m *model) request(t *testing.T, key string, write bool) {
	m.work(t, costRead)
	wide := enter(t, m.wide, key)
	narrow := enter(t, m.narrow, key)
	m.work(t, costDecide)
	narrow.Leave()
	j := &commitJob{cost: costRecord, done: make(chan struct{})}
	var writes Slot
	if write {
		j.cost = costWrite
		writes = enter(t, m.writes, key)
	}
	m.commit <- j
	<-j.done
	writes.Leave()
	m.work(t, costAnswer)
	wide.Leave()
}

// A group is what one caller does: so many connections, each with one request after another.
type group struct {
	key   string
	conns int
	write bool
}

// run lets the groups loose for a second of model time and returns each one's latencies, sorted.
func (m *model) run(t *testing.T, groups ...group) [][]time.Duration {
	out := make([][]time.Duration, len(groups))
	synctest.Test(t, func(t *testing.T) {
		m.cpu = NewGate(Limits{Inside: 2, Waiting: 1 << 20})
		m.commit = make(chan *commitJob, 1024)
		end := time.Now().Add(time.Second)
		var committer, wg sync.WaitGroup
		committer.Go(func() { m.committer(t) })
		var mu sync.Mutex
		for i, c := range groups {
			for range c.conns {
				wg.Go(func() {
					var took []time.Duration
					for time.Now().Before(end) {
						began := time.Now()
						m.request(t, c.key, c.write)
						took = append(took, time.Since(began))
						pass(costNetwork)
					}
					mu.Lock()
					out[i] = append(out[i], took...)
					mu.Unlock()
				})
			}
		}
		wg.Wait()
		close(m.commit)
		committer.Wait()
	})
	for _, took := range out {
		slices.Sort(took)
	}
	return out
}

func p99(sorted []time.Duration) time.Duration { return sorted[len(sorted)*99/100] }
