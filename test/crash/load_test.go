//go:build unix

package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	writers = 8
	readers = 8
	// maxDeeds is how long a thing's history grows: each of its versions is read again after the crash.
	maxDeeds = 40
)

// A load is what clients did in one round.
type load struct {
	*client
	home    *home
	round   int
	settled []settled
	stop    atomic.Bool
	acked   atomic.Int64 // changes that were answered with success
	wg      sync.WaitGroup

	mu     sync.Mutex
	things []*thing // guarded by mu
	faults []fault  // guarded by mu
}

// A settled thing is changed no more, so that readers know what it has to look like.
type settled struct {
	thing *thing
	state state
}

// start lets the clients loose.
func (l *load) start() {
	for w := range writers {
		l.wg.Go(func() { l.write(w) })
	}
	for r := range readers {
		l.wg.Go(func() { l.read(r) })
	}
}

// end waits until the last request of each client has its answer, or has none.
func (l *load) end() {
	l.stop.Store(true)
	l.wg.Wait()
}

func (l *load) fault(faults ...fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, faults...)
}

func (l *load) hasFaults() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.faults) > 0
}

// write changes things of its own, a few of each kind, until the end.
func (l *load) write(w int) {
	mine := map[*kind]*thing{}
	for n := 0; !l.stop.Load(); n++ {
		k := pickKind()
		x := mine[k]
		if x == nil || len(x.history) >= maxDeeds {
			x = newThing(k, l.home, fmt.Sprintf("%c%d-%d-%d", k.name[0], l.round, w, n))
			mine[k] = x
			l.mu.Lock()
			l.things = append(l.things, x)
			l.mu.Unlock()
		}
		if x.sure && rand.IntN(10) == 0 {
			seen, err := k.see(l.client, x)
			l.judgeOwn(x, seen, err)
		}
		st, mark, ready := x.next(l.client, fmt.Sprintf("m%d-%d-%d", l.round, w, n))
		if !ready {
			mine[k] = nil // nothing can be done with it any more
			continue
		}
		t, err := x.try(l.client, st, mark)
		if err != nil {
			l.fault(faultf(wrong, "%v", err))
		}
		if t.succeeded() && st.does != nil {
			l.acked.Add(1)
		}
		if t.answered() {
			continue
		}
		if t.attempts > 0 && (st.once || rand.IntN(2) == 0) {
			mine[k] = nil
		}
		<-time.After(10 * time.Millisecond) // as a client that tries again
	}
}

func pickKind() *kind {
	all := 0
	for _, k := range kinds {
		all += k.often
	}
	n := rand.IntN(all)
	for _, k := range kinds {
		if n -= k.often; n < 0 {
			return k
		}
	}
	return kinds[0]
}

// next chooses a step: mostly one that can succeed, at times one that must be refused, and first of
// all one whose operation nobody has succeeded in.
func (x *thing) next(c *client, fresh string) (st *step, mark string, ready bool) {
	var can, cannot []*step
	for _, st := range x.kind.steps {
		if st.pick != nil {
			if _, ready := st.pick(x); !ready {
				continue
			}
		}
		switch {
		case st.can(x.belief):
			can = append(can, st)
		case st.refused != 0:
			cannot = append(cannot, st)
		}
	}
	from := can
	if len(cannot) > 0 && (len(can) == 0 || rand.IntN(10) == 0) {
		from = cannot
	}
	if len(from) == 0 {
		return nil, "", false
	}
	st, mark = from[rand.IntN(len(from))], fresh
	for _, other := range can {
		if len(c.missing([]string{other.op})) > 0 {
			st = other
		}
	}
	if st.pick != nil {
		mark, _ = st.pick(x)
	}
	return st, mark, true
}

// read asks for what it must get: a settled thing as it is, and all else there is to read.
func (l *load) read(r int) {
	reads := l.home.reads()
	for n := 0; !l.stop.Load(); n++ {
		switch {
		case n%16 == 15:
			l.fault(l.home.aRun(l.client)...)
		case n%2 == 1 && len(l.settled) > 0:
			s := l.settled[rand.IntN(len(l.settled))]
			seen, err := s.thing.kind.see(l.client, s.thing)
			l.judgeSeen(s.thing, s.state, seen, err)
		default:
			q := reads[(r*len(reads)/readers+n)%len(reads)]
			t, body := l.send(q)
			if t.answered() && !t.succeeded() && t.status != q.also {
				l.fault(faultf(wrong, "%s got %d: %s", q.op, t.status, body))
			}
			if !t.answered() {
				<-time.After(10 * time.Millisecond) // as a client that tries again
			}
		}
	}
}

// judgeOwn compares what a client sees of its own thing with what it was told so far.
func (l *load) judgeOwn(x *thing, seen state, err error) {
	want := x.belief.visible()
	if want[life] == deleted {
		want = state{life: deleted} // the rest shows when it is recovered
	}
	l.judgeSeen(x, want, seen, err)
}

func (l *load) judgeSeen(x *thing, want, seen state, err error) {
	found, isFault := errors.AsType[seenFault](err)
	switch {
	case isFault:
		l.fault(found.fault)
	case err != nil:
		<-time.After(10 * time.Millisecond) // as a client that tries again
	case seen.encode() != want.encode():
		l.fault(faultf(lost, "%s %s: got %s, want %s%s", x.kind.name, x.name, seen.encode(), want.encode(), x.tail()))
	}
}
