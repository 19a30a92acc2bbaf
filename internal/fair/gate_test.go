package fair

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// queue starts requests that wait, one after another, and notes in which order they are let in.
type queue struct {
	t     *testing.T
	gate  *Gate
	order []string
	slots []*Slot
}

// enter sends requests of keys, a word each, and waits until all stand.
func (q *queue) enter(keys string) {
	for key := range strings.FieldsSeq(keys) {
		go func() {
			slot, err := q.gate.Enter(q.t.Context(), key)
			if err != nil {
				q.t.Errorf("Enter(%s): %v", key, err)
				return
			}
			q.order = append(q.order, key) // one at a time: the test waits after each step
			q.slots = append(q.slots, &slot)
		}()
		synctest.Wait()
	}
}

// leave lets the oldest out, one after another, until none is inside.
func (q *queue) leave() {
	for len(q.slots) > 0 {
		slot := q.slots[0]
		q.slots = q.slots[1:]
		slot.Leave()
		synctest.Wait()
	}
}

func TestOrder(t *testing.T) {
	for _, tt := range []struct {
		name         string
		limits       Limits
		enter        string
		inside, want string // let in at once; in which order, in the end
	}{
		{"one key in order of arrival", Limits{Inside: 1, Waiting: 9}, "a a a", "a", "a a a"},
		{"a new key is next", Limits{Inside: 2, Waiting: 9}, "a a a a a b", "a a", "a a b a a a"},
		{"keys take turns", Limits{Inside: 1, Waiting: 20}, "a a a a b b b c", "a", "a b c a b a b a"},
		{"those who hold nothing come first, in order", Limits{Inside: 2, Waiting: 20}, "a b a a b b c d", "a b", "a b c d a b a b"},
		{"first slots beyond the shared ones", Limits{Inside: 4, Shared: 1, Waiting: 9}, "a b a c a d e", "a b c d", "a b c d e a a"},
		{"one key alone has all", Limits{Inside: 4, Shared: 1, Waiting: 9}, "a a a a a", "a a a a", "a a a a a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &queue{t: t, gate: NewGate(tt.limits)}
				q.enter(tt.enter)
				if got := strings.Join(q.order, " "); got != tt.inside {
					t.Errorf("let in at once: %q, want %q", got, tt.inside)
				}
				q.leave()
				if got := strings.Join(q.order, " "); got != tt.want {
					t.Errorf("order of admission %q, want %q", got, tt.want)
				}
				checkEmpty(t, q.gate)
			})
		})
	}
}

// checkEmpty fails unless the gate has forgotten everybody.
func checkEmpty(t *testing.T, g *Gate) {
	t.Helper()
	if inside, waiting := g.Load(); inside != 0 || waiting != 0 || len(g.callers) != 0 {
		t.Errorf("inside %d, waiting %d, known keys %d; want none", inside, waiting, len(g.callers))
	}
	if g.first.len != 0 || g.second.len != 0 {
		t.Errorf("lines of %d and %d callers, want none", g.first.len, g.second.len)
	}
	if n := max(len(g.spareCallers), len(g.spareWaiters)); n > g.limits.Inside {
		t.Errorf("%d things kept for reuse, want at most %d", n, g.limits.Inside)
	}
}

func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wide := NewGate(Limits{Inside: 4, Linger: time.Minute})
		beside := wide.Beside(Limits{Inside: 4, Shared: 1, Linger: time.Minute})
		fits := func(want bool) {
			t.Helper()
			one, err := beside.Enter(t.Context(), "a")
			two, err2 := beside.Enter(t.Context(), "a")
			if err != nil || (err2 == nil) != want {
				t.Errorf("second slot of a key: error %v, want %v to succeed", err2, want)
			}
			one.Leave()
			two.Leave()
		}
		meet := func(key string) {
			slot, err := wide.Enter(t.Context(), key)
			if err != nil {
				t.Error(err)
			}
			slot.Leave()
		}
		fits(true)
		meet("a")
		fits(true)
		meet("b") // the gate beside knows
		fits(false)
		<-time.After(time.Minute + time.Microsecond)
		fits(true)
		meet("b")
		fits(true)
		meet("a")
		fits(false)
		beside.Share(2)
		fits(true)
	})
}

// A change of the width counts at once for those who wait.
func TestShareAdmits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{t: t, gate: NewGate(Limits{Inside: 8, Shared: 1, Waiting: 9})}
		q.enter("b a a a")
		q.gate.Share(3)
		synctest.Wait()
		if got := strings.Join(q.order, " "); got != "b a a" {
			t.Errorf("inside: %q, want %q", got, "b a a")
		}
		q.leave()
		checkEmpty(t, q.gate)
	})
}

func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{t: t, gate: NewGate(Limits{Inside: 1, Waiting: 3, WaitingPerKey: 2})}
		refused := func(key string) *BusyError {
			t.Helper()
			_, err := q.gate.Enter(t.Context(), key)
			busy, ok := errors.AsType[*BusyError](err)
			if !ok {
				t.Fatalf("Enter(%s) = %v, want a *BusyError", key, err)
			}
			return busy
		}
		q.enter("a a a")
		refused("a")
		q.enter("b")
		refused("c") // and is not remembered
		if got := len(q.gate.callers); got != 2 {
			t.Errorf("%d keys known, want 2", got)
		}
		<-time.After(2 * time.Second) // nobody left: each is taken to need as long
		if got := refused("c").RetryAfter; got != 6*time.Second {
			t.Errorf("RetryAfter = %s, want 6s", got)
		}
		<-time.After(time.Hour)
		if got := refused("c").RetryAfter; got != maxRetry {
			t.Errorf("RetryAfter = %s, want %s", got, maxRetry)
		}
		if got := refused("c").RetryAfter; got != minRetry { // counted anew
			t.Errorf("RetryAfter = %s, want %s", got, minRetry)
		}
		q.leave()
		checkEmpty(t, q.gate)
	})
}

func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(Limits{Inside: 1, Waiting: 9})
		slot, err := g.Enter(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, key := range []string{"a", "b"} {
			if _, err := g.Enter(ctx, key); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Enter(%s) = %v, want the context's error", key, err)
			}
		}
		if _, waiting := g.Load(); waiting != 0 {
			t.Errorf("%d wait, want none", waiting)
		}
		slot.Leave()
		slot.Leave() // does nothing
		checkEmpty(t, g)
	})
}

// A request whose caller hangs up in the moment of its admission passes the slot on.
func TestCancelledWhileAdmitted(t *testing.T) {
	g := NewGate(Limits{Inside: 1, Waiting: 9})
	slot, _ := g.Enter(t.Context(), "a")
	g.mu.Lock()
	loser, _ := g.enqueue(g.caller("b"))
	heir, _ := g.enqueue(g.caller("c"))
	g.mu.Unlock()
	slot.Leave()
	g.mu.Lock()
	g.abandon(loser)
	g.mu.Unlock()
	got, err := g.wait(t.Context(), heir)
	if err != nil || got.caller.key != "c" {
		t.Fatalf("wait = %v, %v, want the slot", got, err)
	}
	got.Leave()
	checkEmpty(t, g)
}

// Many goroutines with short patience: never more inside than allowed, nobody forgotten, nobody
// left waiting.
func TestManyGoroutines(t *testing.T) {
	for _, limits := range []Limits{
		{Inside: 1, Waiting: 1000},
		{Inside: 4, Shared: 2, Waiting: 20, WaitingPerKey: 5},
		{Inside: 16, Shared: 3, Waiting: 1000, Linger: time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%+v", limits), func(t *testing.T) {
			g := NewGate(limits)
			var inside, entered atomic.Int64
			var wg sync.WaitGroup
			for i := range 64 {
				wg.Go(func() {
					for range 300 {
						visit(t, g, fmt.Sprint("key", i%(1+i%7)), &inside, &entered)
					}
				})
			}
			wg.Wait()
			if entered.Load() == 0 {
				t.Error("nobody was let in")
			}
			checkEmpty(t, g)
		})
	}
}

// visit enters once, with a patience of up to 200 µs or without end.
func visit(t *testing.T, g *Gate, key string, inside, entered *atomic.Int64) {
	ctx := t.Context()
	if rand.IntN(3) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(200))*time.Microsecond)
		defer cancel()
	}
	slot, err := g.Enter(ctx, key)
	if err != nil {
		if _, busy := errors.AsType[*BusyError](err); !busy && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Enter = %v, want a *BusyError or the context's error", err)
		}
		return
	}
	if n := inside.Add(1); n > int64(g.limits.Inside) {
		t.Errorf("%d inside, want at most %d", n, g.limits.Inside)
	}
	entered.Add(1)
	for range rand.IntN(3) {
		<-closed // let others run
	}
	inside.Add(-1)
	slot.Leave()
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Random steps against what must always hold.
func TestInvariants(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		g := NewGate(Limits{Inside: 1 + r.IntN(4), Shared: r.IntN(4), Waiting: 12, WaitingPerKey: 5})
		w := &walk{gate: g}
		for step := range 200 {
			w.step(t, r)
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
		for len(w.inside)+len(w.waiting) > 0 {
			w.settle()
			w.inside[0].Leave()
			w.inside = w.inside[1:]
		}
		checkEmpty(t, g)
	}
}

// A walk calls the parts of Enter one by one, as concurrent requests may, without goroutines.
type walk struct {
	gate    *Gate
	inside  []*Slot
	waiting []*waiter
}

func (w *walk) step(t *testing.T, r *rand.Rand) {
	g := w.gate
	switch n := r.IntN(10); {
	case n < 5:
		key := string(rune('a' + r.IntN(4)))
		g.mu.Lock()
		g.meet(key)
		c := g.caller(key)
		if c.queue.len == 0 && g.may(c) {
			g.inside++
			c.inside++
			w.inside = append(w.inside, &Slot{g, c})
		} else if waiter, err := g.enqueue(c); err == nil {
			w.waiting = append(w.waiting, waiter)
		}
		g.mu.Unlock()
	case n < 9 && len(w.inside) > 0:
		i := r.IntN(len(w.inside))
		w.inside[i].Leave()
		w.inside = slices.Delete(w.inside, i, i+1)
	case len(w.waiting) > 0:
		i := r.IntN(len(w.waiting))
		g.mu.Lock()
		g.abandon(w.waiting[i])
		g.mu.Unlock()
		w.waiting = slices.Delete(w.waiting, i, i+1)
	}
	w.settle()
	w.check(t)
}

// settle moves those who were admitted meanwhile inside.
func (w *walk) settle() {
	w.waiting = slices.DeleteFunc(w.waiting, func(x *waiter) bool {
		select {
		case <-x.ready:
			w.inside = append(w.inside, &Slot{w.gate, x.caller})
			return true
		default:
			return false
		}
	})
}

func (w *walk) check(t *testing.T) {
	g := w.gate
	if inside, waiting := g.Load(); inside != len(w.inside) || waiting != len(w.waiting) {
		t.Errorf("inside %d, waiting %d; want %d, %d", inside, waiting, len(w.inside), len(w.waiting))
	}
	if g.inside > g.limits.Inside || g.waiting > g.limits.Waiting {
		t.Errorf("inside %d, waiting %d, limits %+v", g.inside, g.waiting, g.limits)
	}
	first := 0
	for key, c := range g.callers {
		if c.inside == 0 && c.queue.len == 0 {
			t.Errorf("idle key %s is kept", key)
		}
		if c.queue.len > 0 && (c.turn.list == nil || g.may(c)) {
			t.Errorf("key %s waits, in line %v, though it may enter: %v", key, c.turn.list != nil, g.may(c))
		}
		if c.queue.len > 0 && c.inside == 0 {
			first++
		}
	}
	if g.first.len != first {
		t.Errorf("%d keys stand in the first line, want %d", g.first.len, first)
	}
}
