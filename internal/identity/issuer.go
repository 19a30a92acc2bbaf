package identity

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"strongroom/internal/db"
)

// An Issuer issues and verifies access tokens. It keeps the opened signing keys of one directory
// revision and is safe for concurrent use.
type Issuer struct {
	store    *Store
	lifetime time.Duration
	rotation time.Duration
	current  atomic.Pointer[keySet]
	verified tokenCache
}

// NewIssuer returns an issuer. A token lives for lifetime, a day at most, a
// signing key signs for keyRotation, a day at least.
func NewIssuer(s *Store, lifetime, keyRotation time.Duration) *Issuer {
	return &Issuer{store: s, lifetime: lifetime, rotation: keyRotation}
}

// keys returns the signing keys of the transaction's directory revision.
func (i *Issuer) keys(tx *db.Tx) (*keySet, error) {
	revision, known := tx.Revision(db.Directory), i.current.Load()
	if known != nil && known.revision == revision {
		return known, nil
	}
	loaded, err := i.store.loadKeys(tx, known)
	if err != nil {
		return nil, err
	}
	set := &keySet{revision: revision, keys: loaded}
	if !tx.ReadOnly() {
		return set, nil // it may show what is not committed yet, and may never be
	}
	// An older set must not replace a newer one that another request loaded meanwhile.
	for {
		have := i.current.Load()
		if have != nil && have.revision > revision || i.current.CompareAndSwap(have, set) {
			return set, nil
		}
	}
}

// Keys returns the published keys: those that sign, did until lately, or will soon.
func (i *Issuer) Keys(tx *db.Tx) ([]PublicKey, error) {
	set, err := i.keys(tx)
	if err != nil {
		return nil, err
	}
	out := []PublicKey{}
	for _, k := range set.published(tx.Now) {
		out = append(out, k.public())
	}
	return out, nil
}

// EnsureSigningKey makes the first signing key, or the successor of one that is about to end,
// and deletes keys whose last token has expired. It is called at start and every hour or so,
// from any number of nodes: whoever comes second finds nothing to do. If the process dies, the
// new key is stored or it is not.
func (i *Issuer) EnsureSigningKey(ctx context.Context, d *db.DB) error {
	var now time.Time
	var due, drained bool
	err := d.View(ctx, func(tx *db.Tx) error {
		set, err := i.keys(tx)
		if err != nil {
			return err
		}
		now = tx.Now
		_, due = i.successor(set, now)
		drained = len(set.published(now)) < len(set.keys)
		return nil
	})
	if err != nil {
		return fmt.Errorf("look whether a token signing key is due: %w", err)
	}
	if !due && !drained {
		return nil
	}
	var fresh *signingKey
	if due {
		if fresh, err = newSigningKey(now); err != nil {
			return err
		}
	}
	err = d.Update(ctx, []string{db.Directory}, func(tx *db.Tx) error { return i.rotate(tx, fresh) })
	if err != nil {
		return fmt.Errorf("rotate token signing keys: %w", err)
	}
	return nil
}

// rotate stores the fresh key, if one is still due, and deletes those that are drained.
func (i *Issuer) rotate(tx *db.Tx, fresh *signingKey) error {
	set, err := i.keys(tx)
	if err != nil {
		return err
	}
	published := &keySet{keys: set.published(tx.Now)}
	for _, k := range set.keys {
		if published.byID(k.id) != nil {
			continue
		}
		if err := i.store.deleteKey(tx, k.id); err != nil {
			return err
		}
	}
	active, due := i.successor(set, tx.Now)
	if !due || fresh == nil {
		return nil
	}
	k := *fresh
	k.active, k.retire = active, active.Add(i.rotation)
	return i.store.storeKey(tx, k)
}

// successor says whether a key is to be made now, and from when on it signs. The first signs at
// once, a later one when its predecessor's time is over, but not before clients know it. A
// shorter rotation than the one that a key was made for counts too.
func (i *Issuer) successor(set *keySet, now time.Time) (active time.Time, due bool) {
	if len(set.keys) == 0 {
		return now, true
	}
	newest := set.keys[len(set.keys)-1]
	end := newest.active.Add(i.rotation)
	if newest.retire.Before(end) {
		end = newest.retire
	}
	ahead := min(lead, i.rotation/2)
	if now.Before(end.Add(-ahead)) {
		return time.Time{}, false
	}
	if known := now.Add(ahead); end.Before(known) {
		end = known
	}
	return end, true
}

var errNoSigningKey = errors.New("no token signing key is stored")

// Scrub proves the rows of all token signing keys.
func (i *Issuer) Scrub(tx *db.Tx) error {
	_, err := i.store.loadKeys(tx, nil)
	return err
}
