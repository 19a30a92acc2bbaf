package fair

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Limits are the widths of a Gate. What is out of range is read as the nearest value within.
type Limits struct {
	// Inside is how many requests are admitted at a time, at least 1.
	Inside int
	// Shared is how many are admitted at a time while several keys are about, except that a key
	// which holds no slot is admitted up to Inside; 1 to Inside, and 0 means Inside.
	Shared int
	// Linger is how long several keys are about after the last change from one to another; 0
	// means 10 s.
	Linger time.Duration
	// Waiting is how many requests wait at a time; 0 means that none do.
	Waiting int
	// WaitingPerKey is how many of these are of one key; 0 means Waiting.
	WaitingPerKey int
}

// A BusyError refuses a request because too many wait already. Nothing was done for it.
type BusyError struct {
	// RetryAfter is how long the requests that wait will take, judged by how fast others left
	// lately; between 100 ms and 30 s.
	RetryAfter time.Duration
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("too many requests wait; try again after %s", e.RetryAfter)
}

const (
	minRetry = 100 * time.Millisecond
	maxRetry = 30 * time.Second
	// rateWindow is how long the count by which the pace is judged runs before it begins anew.
	rateWindow    = 10 * time.Second
	defaultLinger = 10 * time.Second
)

// A Gate admits a bounded number of requests at a time. The others wait, in order of arrival
// within a key. When a slot is free, a key that holds none is served before those that hold some,
// and within both classes the keys take turns. None starves: a key of the second class is being
// served, and once it is not, it is in the first.
//
// It may be shared. Its memory is bounded by Limits; nothing is kept for a key that neither holds
// a slot nor waits.
type Gate struct {
	mu      sync.Mutex
	limits  Limits             // guarded by mu, like all below
	inside  int                //
	waiting int                //
	callers map[string]*caller // those that hold or wait
	first   list[*caller]      // those that wait and hold nothing
	second  list[*caller]      // those that wait and hold something
	last    string             // the key that came last
	began   time.Time          // of the count by which the pace is judged
	left    int                // requests that left since began

	crowd *crowd // shared with gates beside this one

	// For reuse, so that admission does not allocate; at most Inside of each.
	spareCallers []*caller
	spareWaiters []*waiter
}

// A crowd remembers when a key came after another.
type crowd struct {
	base    time.Time
	changed atomic.Int64 // nanoseconds since base; 0 means never
}

// A caller is what the gate knows about a key. Guarded by the gate's mu.
type caller struct {
	key    string
	inside int
	queue  list[*waiter]
	turn   element[*caller]
}

// A waiter is a request that waits. Guarded by the gate's mu, except for ready.
type waiter struct {
	caller *caller
	place  element[*waiter]
	ready  chan struct{} // capacity 1; sent to under mu, when the waiter is admitted
}

// NewGate makes a gate.
func NewGate(l Limits) *Gate { return newGate(l, &crowd{base: time.Now()}) }

// Beside makes a gate for a part of the requests that are inside g: writes, say. For both, several
// keys are about when they are for one of them.
func (g *Gate) Beside(l Limits) *Gate { return newGate(l, g.crowd) }

func newGate(l Limits, shared *crowd) *Gate {
	l.Inside = max(l.Inside, 1)
	l.Waiting = max(l.Waiting, 0)
	if l.WaitingPerKey < 1 || l.WaitingPerKey > l.Waiting {
		l.WaitingPerKey = l.Waiting
	}
	if l.Linger <= 0 {
		l.Linger = defaultLinger
	}
	g := &Gate{limits: l, callers: map[string]*caller{}, crowd: shared}
	g.Share(l.Shared)
	return g
}

// Share sets Limits.Shared anew. Those who are inside stay.
func (g *Gate) Share(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n < 1 || n > g.limits.Inside {
		n = g.limits.Inside
	}
	g.limits.Shared = n
	g.dispatch()
}

// A Slot is the right to be inside a gate. The zero Slot is none. It is not copied once it is used.
type Slot struct {
	gate   *Gate
	caller *caller
}

// Leave gives the slot back; the next request in line has it before Leave returns. Leaving again
// does nothing, so that it can be deferred and also be called earlier. Any goroutine may call it,
// but only one at a time.
func (s *Slot) Leave() {
	if s.gate == nil {
		return
	}
	s.gate.mu.Lock()
	s.gate.leave(s.caller)
	s.gate.mu.Unlock()
	*s = Slot{}
}

// Enter waits until the request may go on, and returns the slot that it must leave. It fails with
// a *BusyError at once if too many wait, or with ctx's error when ctx ends first.
func (g *Gate) Enter(ctx context.Context, key string) (Slot, error) {
	g.mu.Lock()
	g.meet(key)
	c := g.caller(key)
	if c.queue.len == 0 && g.may(c) {
		g.inside++
		c.inside++
		g.mu.Unlock()
		return Slot{g, c}, nil
	}
	w, err := g.enqueue(c)
	g.mu.Unlock()
	if err != nil {
		return Slot{}, err
	}
	return g.wait(ctx, w)
}

// Load is how many requests are inside and how many wait, for metrics.
func (g *Gate) Load() (inside, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside, g.waiting
}

// meet notes whether keys change. mu is held.
func (g *Gate) meet(key string) {
	if key == g.last {
		return
	}
	if g.last != "" {
		g.crowd.changed.Store(max(int64(time.Since(g.crowd.base)), 1))
	}
	g.last = key
}

// may says whether one more request of the caller fits inside. mu is held.
func (g *Gate) may(c *caller) bool {
	switch {
	case g.inside >= g.limits.Inside:
		return false
	case c.inside == 0 || g.inside < g.limits.Shared:
		return true
	}
	changed := time.Duration(g.crowd.changed.Load())
	return changed == 0 || time.Since(g.crowd.base)-changed >= g.limits.Linger
}

// caller finds what is known about a key, or begins to know it. mu is held.
func (g *Gate) caller(key string) *caller {
	if c, ok := g.callers[key]; ok {
		return c
	}
	var c *caller
	if n := len(g.spareCallers); n > 0 {
		c, g.spareCallers = g.spareCallers[n-1], g.spareCallers[:n-1]
	} else {
		c = &caller{}
		c.turn.value = c
	}
	c.key = key
	g.callers[key] = c
	return c
}

// waiter makes a waiter of the caller. mu is held.
func (g *Gate) waiter(c *caller) *waiter {
	var w *waiter
	if n := len(g.spareWaiters); n > 0 {
		w, g.spareWaiters = g.spareWaiters[n-1], g.spareWaiters[:n-1]
	} else {
		w = &waiter{ready: make(chan struct{}, 1)}
		w.place.value = w
	}
	w.caller = c
	return w
}

// enqueue puts a request at the end of its key's queue, or refuses it. mu is held.
func (g *Gate) enqueue(c *caller) (*waiter, error) {
	if g.waiting >= g.limits.Waiting || c.queue.len >= g.limits.WaitingPerKey {
		err := &BusyError{RetryAfter: g.retryAfter(time.Now())}
		g.release(c)
		return nil, err
	}
	if g.waiting == 0 {
		g.began, g.left = time.Now(), 0
	}
	w := g.waiter(c)
	c.queue.push(&w.place)
	g.waiting++
	g.line(c)
	return w, nil
}

// wait returns when the waiter is admitted or ctx ends.
func (g *Gate) wait(ctx context.Context, w *waiter) (Slot, error) {
	c := w.caller
	var err error
	select {
	case <-w.ready:
		g.mu.Lock()
	case <-ctx.Done():
		err = fmt.Errorf("wait for admission: %w", ctx.Err())
		g.mu.Lock()
		g.abandon(w)
	}
	w.caller = nil
	if len(g.spareWaiters) < g.limits.Inside {
		g.spareWaiters = append(g.spareWaiters, w)
	}
	g.mu.Unlock()
	if err != nil {
		return Slot{}, err
	}
	return Slot{g, c}, nil
}

// abandon takes a waiter out of its queue, or, if it was admitted meanwhile, passes the slot on.
// mu is held.
func (g *Gate) abandon(w *waiter) {
	c := w.caller
	select {
	case <-w.ready:
		g.leave(c)
		return
	default:
	}
	c.queue.remove(&w.place)
	g.waiting--
	g.line(c)
	g.release(c)
}

// leave gives a slot of the caller back and admits who is next. mu is held.
func (g *Gate) leave(c *caller) {
	g.inside--
	c.inside--
	g.left++
	g.line(c)
	g.dispatch()
	g.release(c)
}

// dispatch admits those whose turn it is, as far as there is room. Whoever waits is admitted in
// the end: somebody is inside as long as anybody waits, and leaving comes here. mu is held.
func (g *Gate) dispatch() {
	for {
		next := g.first.head
		if next == nil {
			next = g.second.head
		}
		if next == nil || !g.may(next.value) {
			return
		}
		g.admit(next.value)
	}
}

// admit lets the caller's oldest request in; the caller's next turn comes after everybody's of
// its class. mu is held.
func (g *Gate) admit(c *caller) {
	w := c.queue.head.value
	c.queue.remove(&w.place)
	g.waiting--
	g.inside++
	c.inside++
	c.turn.list.remove(&c.turn)
	g.line(c)
	w.ready <- struct{}{}
}

// line puts the caller in the line in which it belongs, at the end unless it stands there. It is
// called whenever what the caller holds or its queue has changed. mu is held.
func (g *Gate) line(c *caller) {
	var want *list[*caller]
	switch {
	case c.queue.len == 0:
	case c.inside == 0:
		want = &g.first
	default:
		want = &g.second
	}
	if c.turn.list == want {
		return
	}
	if c.turn.list != nil {
		c.turn.list.remove(&c.turn)
	}
	if want != nil {
		want.push(&c.turn)
	}
}

// release forgets a caller that neither holds nor waits. mu is held.
func (g *Gate) release(c *caller) {
	if c.inside > 0 || c.queue.len > 0 {
		return
	}
	delete(g.callers, c.key)
	c.key = ""
	if len(g.spareCallers) < g.limits.Inside {
		g.spareCallers = append(g.spareCallers, c)
	}
}

// retryAfter judges how long those that wait will take. mu is held.
func (g *Gate) retryAfter(now time.Time) time.Duration {
	took := now.Sub(g.began)
	estimate := time.Duration(float64(took) * float64(g.waiting) / float64(g.left+1))
	if took > rateWindow {
		g.began, g.left = now, 0
	}
	return min(max(estimate, minRetry), maxRetry)
}
