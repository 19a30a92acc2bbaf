package envelope

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// RootKeys are the root keys that this process has, the newest last. While the root key is being
// changed there are several: all open what they have wrapped, and which of them wraps is for the
// caller to say, who asks the database. Keys may come while others are used.
type RootKeys struct {
	redacted
	mu   sync.RWMutex
	keys []RootKey // guarded by mu; replaced, never changed
}

// NewRootKeys holds keys, the newest last.
func NewRootKeys(keys ...RootKey) *RootKeys { return &RootKeys{keys: keys} }

// Add takes keys, the newest last, which those it had already stay older than. A key that it has
// moves to its new place.
func (r *RootKeys) Add(keys ...RootKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := slices.DeleteFunc(slices.Clone(r.keys), func(k RootKey) bool {
		return slices.ContainsFunc(keys, func(added RootKey) bool { return added.ID() == k.ID() })
	})
	r.keys = append(old, keys...)
}

func (r *RootKeys) all() []RootKey {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.keys
}

// IDs names the keys, the newest last.
func (r *RootKeys) IDs() (ids []string) {
	for _, k := range r.all() {
		ids = append(ids, k.ID())
	}
	return ids
}

// Newest is the id of the key that was added last, or "".
func (r *RootKeys) Newest() string {
	all := r.all()
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1].ID()
}

// find fails with ErrWrongRootKey where the key is not at hand.
func (r *RootKeys) find(id string) (RootKey, error) {
	for _, k := range r.all() {
		if k.ID() == id {
			return k, nil
		}
	}
	return nil, fmt.Errorf("root key %s at hand, wrapped by %q: %w", strings.Join(r.IDs(), ", "), id, ErrWrongRootKey)
}
