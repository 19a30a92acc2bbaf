package db

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"strongroom/internal/envelope"
)

// lock locks the rows of scopes, in their order, so that the transaction may raise them. A scope
// that has no row yet gets one, so that there is something to lock; a vault's comes with the vault.
func (t *Tx) lock(scopes []string) error {
	if err := t.readRevisions(scopes, t.db.engine.lockSuffix); err != nil {
		return err
	}
	return t.hold(scopes)
}

// hold notes scopes whose rows are locked and read.
func (t *Tx) hold(scopes []string) error {
	for _, s := range scopes {
		if t.revisions[s].digest == nil && !strings.HasPrefix(s, vaultPrefix) {
			if err := t.storeRevision(s, revision{}, true); err != nil {
				return err
			}
			if err := t.readRevisions([]string{s}, t.db.engine.lockSuffix); err != nil {
				return err
			}
		}
		t.base[s] = t.revisions[s]
	}
	return nil
}

// readRevisions reads the named revisions in their locking order and proves them. A scope without
// a row is at zero.
func (t *Tx) readRevisions(scopes []string, suffix string) error {
	if len(scopes) == 0 {
		return nil
	}
	args, places := make([]any, len(scopes)), make([]string, len(scopes))
	for i, s := range scopes {
		args[i], places[i] = s, "$"+strconv.Itoa(i+1)
		t.revisions[s] = revision{}
	}
	// Only the number of places varies in the text.
	q := `SELECT scope, revision, members, digest_sealed FROM revisions WHERE scope IN (` +
		strings.Join(places, ", ") + `) ORDER BY scope` + suffix
	err := t.Query(func(row Scanner) error {
		var scope string
		var r revision
		var sealed []byte
		if err := row.Scan(&scope, &r.number, &r.members, &sealed); err != nil {
			return err
		}
		var err error
		if r.digest, err = t.db.guard.open(t.db.ring, scope, r, sealed); err != nil {
			return err
		}
		t.revisions[scope] = r
		return nil
	}, q, args...)
	if err != nil {
		return fmt.Errorf("read revisions: %w", err)
	}
	for _, s := range scopes {
		r := t.revisions[s]
		if r.digest == nil && strings.HasPrefix(s, vaultPrefix) {
			continue // purged, by this node or another; the directory tells
		}
		if err := t.db.guard.checkForward(s, r.number, t.since); err != nil {
			return err
		}
	}
	return nil
}

// read returns the revision of a scope, read now if it is not at hand.
func (t *Tx) read(scope string) (revision, error) {
	if _, known := t.revisions[scope]; !known {
		if t.tx == nil {
			return t.recall(scope)
		}
		if err := t.readRevisions([]string{scope}, ""); err != nil {
			return revision{}, err
		}
	}
	return t.revisions[scope], nil
}

// reread looks whether a scope has moved since, where the transaction does not hold its lock.
func (t *Tx) reread(scope string) (revision, error) {
	if _, locked := t.base[scope]; !locked {
		if err := t.readRevisions([]string{scope}, ""); err != nil {
			return revision{}, err
		}
	}
	return t.revisions[scope], nil
}

// Members is the number of rows of a scope's set as the transaction sees it.
func (t *Tx) Members(scope string) (int64, error) {
	r, err := t.read(scope)
	return r.members, err
}

// Drop removes a scope for good, when all that it stands for is gone: that of a purged vault. It
// never comes back.
func (t *Tx) Drop(scope string) error {
	if err := t.Raise(scope); err != nil {
		return err
	}
	if _, err := t.Exec(`DELETE FROM revisions WHERE scope = $1`, scope); err != nil {
		return fmt.Errorf("remove the revision of %q: %w", scope, err)
	}
	delete(t.base, scope)
	delete(t.changes, scope)
	t.revisions[scope] = revision{}
	return nil
}

// storeRevisions writes what the transaction has raised. It is the last statement but the
// journal's, once for all jobs of a commit.
func (t *Tx) storeRevisions() error {
	var raised []string
	for s, before := range t.base {
		if t.revisions[s].number != before.number {
			raised = append(raised, s)
		}
	}
	slices.Sort(raised)
	for _, s := range raised {
		if err := t.storeRevision(s, t.revisions[s], t.base[s].digest == nil); err != nil {
			return fmt.Errorf("raise the revision of %q: %w", s, err)
		}
	}
	return nil
}

// storeRevision writes a scope's row: anew, unless another transaction was the first, or over the
// one that is locked.
func (t *Tx) storeRevision(scope string, r revision, first bool) error {
	if r.digest == nil {
		r.digest = t.db.ring.NewDigest(setParts(scope))
	}
	sealed, err := t.db.ring.SealDigest(r.digest, scope, r.number, r.members)
	if err != nil {
		return err
	}
	q := `UPDATE revisions SET revision = $2, members = $3, digest_sealed = $4 WHERE scope = $1`
	if first {
		q = `INSERT INTO revisions (scope, revision, members, digest_sealed) VALUES ($1, $2, $3, $4) ON CONFLICT (scope) DO NOTHING`
	}
	n, err := t.Exec(q, scope, r.number, r.members, sealed)
	if err == nil && n != 1 && !first {
		err = fmt.Errorf("its row is gone: %w", envelope.ErrTampered)
	}
	if n == 1 {
		t.stored[scope] = opened{r.number, r.members, sealed, r.digest}
	}
	return err
}

// opened is the last sealed digest of a scope that was opened, or sealed here.
type opened struct {
	number, members int64
	sealed          []byte
	digest          envelope.Digest
}

// open opens the sealed digest of a revision, unless it is the one that was opened last.
func (g *guard) open(ring *envelope.Ring, scope string, r revision, sealed []byte) (envelope.Digest, error) {
	g.mu.Lock()
	last := g.opened[scope]
	g.mu.Unlock()
	if last.number == r.number && last.members == r.members && bytes.Equal(last.sealed, sealed) {
		return last.digest, nil
	}
	d, err := ring.OpenDigest(sealed, scope, r.number, r.members)
	if err != nil {
		return nil, err
	}
	if d.Parts() != setParts(scope) {
		return nil, fmt.Errorf("digest of %s: it has %d parts: %w", scope, d.Parts(), envelope.ErrTampered)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened[scope] = opened{r.number, r.members, bytes.Clone(sealed), d}
	return d, nil
}
