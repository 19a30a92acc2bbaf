package secrets

import (
	"sync"

	"strongroom/internal/db"
)

// maxCached bounds the answers in memory, in bytes. One has about itemOverhead bytes beside its texts,
// and a secret in a page secretOverhead.
const (
	maxCached      = 32 << 20
	itemOverhead   = 350
	secretOverhead = 500
)

// A cache keeps answers with values, and pages of lists, each under the revision of its vault. A change of ours takes out what it changed, and all pages, and moves the rest on (changed);
// after anybody else's change the vault's entries are of no use any more.
type cache struct {
	mu     sync.Mutex
	vaults map[string]*cachedVault // by revision scope
	bytes  int
}

type cachedVault struct {
	revision int64
	rows     map[uint64][]item // by the key of the head's row
	pages    map[Page][]Secret // of the list of living secrets, without values
}

// A question is a name and a version as they were asked for, "" being the latest, and in which form.
type question struct {
	nameKey, version string
	form             Form
}

type item struct {
	question
	answer Answer
}

func (i item) size() int {
	return itemOverhead + len(i.nameKey) + len(i.version) + len(i.form.BaseURL) + i.answer.Body.Len()
}

// get returns the answer if it is at hand for the vault's revision.
func (c *cache) get(scope string, revision int64, row uint64, q question) (Answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.vaults[scope]
	if v == nil || v.revision != revision {
		return Answer{}, false
	}
	for _, i := range v.rows[row] {
		if i.question == q {
			return i.answer, true
		}
	}
	return Answer{}, false
}

// put keeps an answer that was made from what was read at a revision of its vault.
func (c *cache) put(scope string, revision int64, row uint64, i item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.at(scope, revision)
	if !ok {
		return
	}
	for _, have := range v.rows[row] {
		if have.question == i.question {
			return
		}
	}
	v.rows[row] = append(v.rows[row], i)
	c.bytes += i.size()
	c.makeRoom()
}

// at is the vault's part, and whether it is at the revision: it is not where a change is known that came
// behind what was read.
func (c *cache) at(scope string, revision int64) (*cachedVault, bool) {
	if c.vaults == nil {
		c.vaults = map[string]*cachedVault{}
	}
	v := c.vaults[scope]
	if v == nil || v.revision < revision {
		c.drop(scope)
		v = &cachedVault{revision: revision, rows: map[uint64][]item{}, pages: map[Page][]Secret{}}
		c.vaults[scope] = v
	}
	return v, v.revision == revision
}

// page returns a page of the list if it is at hand for the vault's revision.
func (c *cache) page(scope string, revision int64, p Page) ([]Secret, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.vaults[scope]
	if v == nil || v.revision != revision {
		return nil, false
	}
	out, ok := v.pages[p]
	return out, ok
}

// putPage keeps a page that was read at a revision of its vault. Nobody may change it any more.
func (c *cache) putPage(scope string, revision int64, p Page, page []Secret) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.at(scope, revision)
	if _, known := v.pages[p]; !ok || known {
		return
	}
	v.pages[p] = page
	c.bytes += pageSize(p, page)
	c.makeRoom()
}

func pageSize(p Page, page []Secret) int {
	size := itemOverhead + len(p.After)
	for _, s := range page {
		size += secretOverhead + len(s.Name)
		for name, value := range s.Tags {
			size += len(name) + len(value)
		}
	}
	return size
}

// makeRoom takes out entries, whichever come first, until the rest fits: pages before secrets.
func (c *cache) makeRoom() {
	for _, v := range c.vaults {
		if c.bytes > maxCached {
			c.takePages(v)
		}
	}
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

func (c *cache) takePages(v *cachedVault) {
	for p, page := range v.pages {
		c.bytes -= pageSize(p, page)
	}
	clear(v.pages)
}

func (c *cache) drop(scope string) {
	if v := c.vaults[scope]; v != nil {
		c.takePages(v)
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
	c.takePages(v)
	v.revision = to
}

// Watch lets the store follow what is changed here, so that it can keep answers in memory.
func (s *Store) Watch(d *db.DB) { d.Watch(s.answers.changed) }
