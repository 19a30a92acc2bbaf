package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
)

// ErrNotRemembered is what a remembered transaction answers when it is asked for what is only in
// the database: the same work has to be done again in a View.
var ErrNotRemembered = errors.New("not in memory")

// ErrStale means that what an answer was made from had changed before its record was stored: nothing
// is stored, and the answer has to be made again from the database.
var ErrStale = errors.New("made from what has changed")

// Remember returns a read-only transaction that asks the database nothing: it shows the revisions
// that this process knows, and whatever else is kept under them. It is false where that can't be
// done.
//
// An answer that was made so is worth nothing before AppendProven has stored its record. On SQLite
// this process is the only writer, and its revisions rise after the commit and before any answer: a
// request that began after an acknowledged change finds it. On PostgreSQL another node may have
// changed things, so the revisions are read again before the record is stored, after all the requests
// whose records are stored together had arrived.
func (d *DB) Remember() (*Tx, bool) {
	if d.testClock || d.ring == nil {
		return nil, false
	}
	t := &Tx{db: d, Now: time.Now().UTC().Truncate(time.Microsecond), revisions: make(map[string]revision, 3)}
	for _, scope := range []string{Authorisation, Directory} {
		if _, err := t.recall(scope); err != nil {
			return nil, false
		}
	}
	return t, true
}

// IsAlone says whether this process is the only writer, so that what it remembers needs no proof.
func (d *DB) IsAlone() bool { return d.engine.alone }

// recall takes a revision from memory.
func (t *Tx) recall(scope string) (revision, error) {
	number, ok := t.db.guard.current(scope)
	if !ok {
		return revision{}, ErrNotRemembered
	}
	r := revision{number: number}
	t.revisions[scope] = r
	return r, nil
}

// current is the highest revision seen of a scope.
func (g *guard) current(scope string) (int64, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, ok := g.newest[scope]
	return s.number, ok
}

// Newest returns the highest revision that this process has seen of each vault.
func (d *DB) Newest() map[string]int64 {
	d.guard.mu.Lock()
	defer d.guard.mu.Unlock()
	out := map[string]int64{}
	for scope, s := range d.guard.newest {
		if strings.HasPrefix(scope, vaultPrefix) {
			out[scope] = s.number
		}
	}
	return out
}

// forgotten is the row of a remembered transaction.
type forgotten struct{}

func (forgotten) Scan(...any) error { return ErrNotRemembered }

// A proof is what an answer from memory relies on.
type proof struct {
	revisions map[string]int64
	until     time.Time // the answer holds before it; zero if it has no end
}

// proof returns what has been read in a remembered transaction, and that it holds only before a
// time, if that is not zero.
func (t *Tx) proof(until time.Time) *proof {
	p := &proof{revisions: make(map[string]int64, len(t.revisions)), until: until}
	for scope, r := range t.revisions {
		p.revisions[scope] = r.number
	}
	return p
}

// AppendProven stores the record of an answer that was made from a remembered transaction and holds
// until a time, if that is not zero. It returns after the record is durable, or ErrStale.
func (d *DB) AppendProven(ctx context.Context, t *Tx, until time.Time, record []byte) error {
	j := &job{ctx: ctx, records: [][]byte{record}, done: make(chan error, 1)}
	if !d.engine.alone {
		j.proof = t.proof(until)
	}
	return d.submit(d.lanes[len(d.lanes)-1], j)
}

// readProofs reads the revisions that the jobs of a batch rely on.
func (t *Tx) readProofs(batch []*job) error {
	var scopes []string
	for _, j := range batch {
		if j.proof == nil {
			continue
		}
		for scope := range maps.Keys(j.proof.revisions) {
			if _, known := t.revisions[scope]; !known {
				scopes, t.revisions[scope] = append(scopes, scope), revision{}
			}
		}
	}
	return t.readRevisions(scopes, "")
}

// holds says whether an answer may be given at the transaction's time.
func (p *proof) holds(t *Tx) error {
	if p == nil {
		return nil
	}
	for scope, number := range p.revisions {
		if now := t.revisions[scope].number; now != number {
			return fmt.Errorf("%w: revision %d of %s, now %d", ErrStale, number, scope, now)
		}
	}
	if !p.until.IsZero() && !t.Now.Before(p.until) {
		return fmt.Errorf("%w: it held until %s", ErrStale, p.until)
	}
	return nil
}

// A Watcher is told, after a commit and before anybody's answer, which rows of a set have changed
// between two revisions. It must be quick. What others change it does not hear of: the revisions
// tell.
type Watcher func(set string, from, to int64, keys []uint64)

// Watch adds a watcher, before the first Update.
func (d *DB) Watch(w Watcher) { d.watchers = append(d.watchers, w) }

// announce tells the watchers what a transaction has changed.
func (d *DB) announce(t *Tx) {
	for set, changes := range t.changes {
		keys := make([]uint64, len(changes))
		for i, c := range changes {
			keys[i] = c.key
		}
		for _, w := range d.watchers {
			w(set, t.base[set].number, t.revisions[set].number, keys)
		}
	}
}
