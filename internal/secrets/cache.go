package secrets

import (
	"sync"

	"strongroom/internal/db"
)

// maxCached bounds the opened secrets in memory, in bytes. An entry has about itemOverhead bytes
// beside its texts.
const (
	maxCached    = 32 << 20
	itemOverhead = 500
)

// A cache keeps secrets that were read and opened, each under the revision of its vault. A change of
// ours takes out what it changed and moves the rest on (changed); after anybody else's change the
// vault's entries are of no use any more.
type cache struct {
	mu     sync.Mutex
	vaults map[string]*cachedVault // by revision scope
	bytes  int
}

type cachedVault struct {
	revision int64
	rows     map[uint64][]item // by the key of the head's row
}

// An item answers for a name and a version as they were asked for: "" is the latest.
type item struct {
	nameKey, version string
	secret           Secret
}

func (i item) size() int {
	return itemOverhead + len(i.nameKey) + i.secret.Value.Len() + len(i.secret.sealed)
}

// get returns the secret if it is at hand for the vault's revision.
func (c *cache) get(scope string, revision int64, row uint64, nameKey, version string) (Secret, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.vaults[scope]
	if v == nil || v.revision != revision {
		return Secret{}, false
	}
	for _, i := range v.rows[row] {
		if i.nameKey == nameKey && i.version == version {
			return i.secret, true
		}
	}
	return Secret{}, false
}

// put keeps a secret that was read at a revision of its vault.
func (c *cache) put(scope string, revision int64, row uint64, i item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.vaults == nil {
		c.vaults = map[string]*cachedVault{}
	}
	v := c.vaults[scope]
	if v != nil && v.revision > revision {
		return // read before a change that is known by now
	}
	if v == nil || v.revision < revision {
		c.drop(scope)
		v = &cachedVault{revision: revision, rows: map[uint64][]item{}}
		c.vaults[scope] = v
	}
	for _, have := range v.rows[row] {
		if have.nameKey == i.nameKey && have.version == i.version {
			return
		}
	}
	v.rows[row] = append(v.rows[row], i)
	c.bytes += i.size()
	c.makeRoom()
}

// makeRoom takes out entries, whichever come first, until the rest fits.
func (c *cache) makeRoom() {
	for _, v := range c.vaults {
		for row := range v.rows {
			if c.bytes <= maxCached {
				return
			}
			c.take(v, row)
		}
	}
}

func (c *cache) take(v *cachedVault, row uint64) {
	for _, i := range v.rows[row] {
		c.bytes -= i.size()
	}
	delete(v.rows, row)
}

func (c *cache) drop(scope string) {
	if v := c.vaults[scope]; v != nil {
		for row := range v.rows {
			c.take(v, row)
		}
		delete(c.vaults, scope)
	}
}

// changed is the database's watcher.
func (c *cache) changed(scope string, from, to int64, rows []uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.vaults[scope]
	if v == nil {
		return
	}
	if v.revision != from {
		c.drop(scope)
		return
	}
	for _, row := range rows {
		c.take(v, row)
	}
	v.revision = to
}

// Watch lets the store follow what is changed here, so that it can keep opened secrets in memory.
func (s *Store) Watch(d *db.DB) { d.Watch(s.opened.changed) }
