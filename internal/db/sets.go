package db

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"strongroom/internal/envelope"
)

// A revision is the row that stands for a set: how often it has changed, how many rows it has,
// and the digest of these rows. The row is sealed as a whole. It is a value; the digest is never
// changed in place.
type revision struct {
	number  int64
	members int64
	digest  envelope.Digest
}

// A change is a row of a set that comes, goes, or is replaced, given by the MACs.
type change struct {
	part       int
	key        uint64
	id         []byte // the row's primary key, spelled out
	gone, come []byte
}

// setParts is how many parts the digest of a set has.
func setParts(set string) int {
	if strings.HasPrefix(set, vaultPrefix) {
		return VaultParts
	}
	return 1
}

// change folds a change of a sealed row into its set.
func (t *Tx) change(set string, c change) error {
	members := int64(0)
	if c.gone != nil {
		members--
	}
	if c.come != nil {
		members++
	}
	if err := t.Fold(set, c.part, members, element(c.gone, c.id), element(c.come, c.id)); err != nil {
		return err
	}
	t.changes[set] = append(t.changes[set], c)
	return nil
}

// element is what a row adds to a digest: its MAC, and where it stands, so that a row that was moved
// is missed at its place.
func element(mac, id []byte) []byte {
	if mac == nil {
		return nil
	}
	return append(bytes.Clone(mac), id...)
}

// Fold raises the revision of a set, changes the number of its members, and folds rows that are
// gone and come, given by their MACs or nil, into a part of its digest. It is for sets whose rows
// are in no sealed table; those of a sealed table change with Put and Remove.
func (t *Tx) Fold(set string, part int, members int64, gone, come []byte) error {
	if err := t.Raise(set); err != nil {
		return err
	}
	r := t.revisions[set]
	if r.digest == nil {
		r.digest = t.db.ring.NewDigest(setParts(set))
	}
	var out, in [][]byte
	if gone != nil {
		out = [][]byte{gone}
	}
	if come != nil {
		in = [][]byte{come}
	}
	var err error
	if r.digest, err = t.db.ring.Fold(r.digest, part, out, in); err != nil {
		return fmt.Errorf("set %s: %w", set, err)
	}
	r.members += members
	t.revisions[set] = r
	return nil
}

// isMember says whether a row is in its set as this transaction sees it.
func (t *Tx) isMember(set string, part int, key uint64, mac []byte, table string) error {
	stored, found, err := t.lookUp(set, part, key)
	if err == nil && (!found || !bytes.Equal(stored, shorten(mac))) {
		err = t.tampered(set, "a row of "+table+" is no member")
	}
	return err
}

// errMoved means that a set which the transaction did not lock has moved while it was read.
var errMoved = errors.New("what was read has changed meanwhile")

// tampered is the error for a set that is not what its digest says, unless somebody has just
// changed it: where statements see what others commit meanwhile, rows and digest may be of two
// moments, and the transaction has to be tried again.
func (t *Tx) tampered(set, found string) error {
	before := t.revisions[set]
	now, err := t.reread(set)
	if err == nil && now.number != before.number {
		return errMoved
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("set %s at revision %d: %s: %w", set, now.number, found, envelope.ErrTampered)
}

// Absent says whether a row that was not found is indeed in no set; key are the fields of its
// primary key, in the order of the table's columns, the others nil.
func (t *Tx) Absent(table *Table, fields ...any) error {
	set, part := table.setOf(fields)
	_, found, err := t.lookUp(set, part, table.rowKey(fields))
	if err == nil && found {
		err = t.tampered(set, "a row of "+table.name+" is gone")
	}
	return err
}

// lookUp finds a member: among this transaction's own changes, or in the index of the part.
func (t *Tx) lookUp(set string, part int, key uint64) (mac []byte, found bool, err error) {
	changes := t.changes[set]
	for i := len(changes) - 1; i >= 0; i-- {
		if c := changes[i]; c.part == part && c.key == key {
			return shorten(c.come), c.come != nil, nil
		}
	}
	r, err := t.read(set)
	if err != nil {
		return nil, false, err
	}
	if r.digest == nil {
		return nil, false, t.isThere(set)
	}
	base := r
	if first, ok := t.base[set]; ok {
		base = first
	}
	k := indexKey{set, part}
	if base.digest != nil {
		if mac, found, known := t.find(k, base.digest.Part(part), key); known {
			return mac, found, nil
		}
		// One reads the part, and those that came meanwhile find it.
		defer t.db.guard.lockPart(part)()
		if mac, found, known := t.find(k, base.digest.Part(part), key); known {
			return mac, found, nil
		}
	}
	ix, err := t.loadIndex(set, part)
	if err != nil {
		return nil, false, err
	}
	mac, found = ix.find(key)
	mac = bytes.Clone(mac) // before others get hold of the index
	if len(changes) == 0 {
		t.keep(k, ix)
	}
	return mac, found, nil
}

// find looks into the index of a part, if one is at hand for the digest.
func (t *Tx) find(k indexKey, digest envelope.Digest, key uint64) (mac []byte, found, known bool) {
	if ix := t.indexes[k]; ix != nil && ix.digest.Equal(digest) {
		mac, found = ix.find(key)
		return bytes.Clone(mac), found, true
	}
	return t.db.guard.find(k, digest, key)
}

// keep gives an index to all transactions, or, where they know a later one, keeps it for this one: a
// reader of an old snapshot must not take from the writers what they need.
func (t *Tx) keep(k indexKey, ix *index) {
	if t.db.guard.keep(k, ix) {
		return
	}
	if t.indexes == nil {
		t.indexes = map[indexKey]*index{}
	}
	t.indexes[k] = ix
}

// isThere refuses a vault's set whose row is gone. It is stored with the vault and goes with it, and
// nobody asks for the set of a vault that the directory does not have.
func (t *Tx) isThere(set string) error {
	r, err := t.read(set)
	if err == nil && r.number == 0 && strings.HasPrefix(set, vaultPrefix) {
		err = t.tampered(set, "its row is gone")
	}
	return err
}

// HasSet proves that a vault has its set of rows, for lists: what is empty must not be so because
// somebody has taken everything away.
func (t *Tx) HasSet(vaultID string) error { return t.isThere(VaultRevision(vaultID)) }

// loadIndex reads all rows of a part and compares their sum with the digest.
func (t *Tx) loadIndex(set string, part int) (*index, error) {
	r, err := t.read(set)
	if err != nil {
		return nil, err
	}
	ix, err := t.sumUp(set, part, r.digest)
	if err == nil && !ix.digest.Equal(r.digest.Part(part)) {
		err = t.tampered(set, fmt.Sprintf("the rows of part %d are not those of its digest", part))
	}
	return ix, err
}

// ProvePart compares all rows of a part of a set with its digest, whatever was proven before. Their
// columns are proven by who reads them.
func (t *Tx) ProvePart(set string, part int) error {
	r, err := t.read(set)
	if err == nil {
		err = t.isThere(set)
	}
	if err != nil || r.digest == nil {
		return err
	}
	ix, err := t.loadIndex(set, part)
	if err != nil {
		return err
	}
	if setParts(set) == 1 && int64(len(ix.entries)) != r.members {
		return t.tampered(set, fmt.Sprintf("it has %d rows and should have %d", len(ix.entries), r.members))
	}
	t.keep(indexKey{set, part}, ix)
	return nil
}

// AddUp adds rows that the caller has read, given by their MACs, to a sum for ProveSum. The first sum is
// nil. The set has one part and no sealed table.
func (t *Tx) AddUp(set string, sum envelope.Digest, macs [][]byte) (envelope.Digest, error) {
	if sum == nil {
		digest, err := t.digestOf(set)
		if err != nil {
			return nil, err
		}
		sum = digest.Empty()
	}
	return t.db.ring.Fold(sum, 0, nil, macs)
}

// ProveSum compares a sum of AddUp with the digest of the set.
func (t *Tx) ProveSum(set string, sum envelope.Digest) error {
	digest, err := t.digestOf(set)
	if err == nil && !sum.Equal(digest) {
		err = t.tampered(set, "its rows are not those of its digest")
	}
	return err
}

// digestOf is the digest of a set of one part, which may not have been stored yet.
func (t *Tx) digestOf(set string) (envelope.Digest, error) {
	r, err := t.read(set)
	if err == nil && r.digest == nil {
		r.digest = t.db.ring.NewDigest(1)
	}
	return r.digest, err
}

// sumUp reads the rows of a part and makes its index, with the digest that they have.
func (t *Tx) sumUp(set string, part int, like envelope.Digest) (*index, error) {
	ix := &index{digest: like.Empty(), number: t.revisions[set].number}
	likely := int(t.revisions[set].members) / setParts(set) * 5 / 4
	macs := make([][]byte, 0, likely)
	ix.entries = make([]entry, 0, likely)
	for _, table := range sealedTables {
		where, args := "", []any(nil)
		switch vaultID, ok := strings.CutPrefix(set, vaultPrefix); {
		case table.part >= 0 && ok:
			where, args = ` WHERE vault_id = $1 AND part = $2`, []any{vaultID, int64(part)}
		case table.set != set:
			continue
		}
		fields := make([]any, len(table.columns))
		var names []string
		var mac []byte
		var to []any
		for _, i := range table.key {
			names, to = append(names, table.columns[i]), append(to, &fields[i])
		}
		q := `SELECT ` + strings.Join(names, ", ") + `, row_mac FROM ` + table.name + where
		err := t.Query(func(s Scanner) error {
			if err := s.Scan(append(to, &mac)...); err != nil {
				return err
			}
			macs = append(macs, element(mac, table.rowID(fields)))
			ix.entries = append(ix.entries, entry{table.rowKey(fields), [shortMAC]byte(shorten(mac))})
			return nil
		}, q, args...)
		if err != nil {
			return nil, fmt.Errorf("read the set %s: %w", set, err)
		}
	}
	slices.SortFunc(ix.entries, byKey)
	var err error
	ix.digest, err = t.db.ring.Fold(ix.digest, 0, nil, macs)
	return ix, err
}

// shortMAC is how much of a row MAC an index keeps: enough that nobody finds another row with it.
const shortMAC = 16

func shorten(mac []byte) []byte {
	if len(mac) < shortMAC {
		return make([]byte, shortMAC) // no MAC of ours
	}
	return mac[len(mac)-shortMAC:]
}

// An index knows the members of one part of a set, and the digest that proves it.
type index struct {
	number  int64 // the set's revision
	digest  envelope.Digest
	entries []entry // by key
}

type entry struct {
	key uint64
	mac [shortMAC]byte
}

func byKey(a, b entry) int { return cmp.Compare(a.key, b.key) }

func (ix *index) find(key uint64) (mac []byte, found bool) {
	i, found := slices.BinarySearchFunc(ix.entries, entry{key: key}, byKey)
	if !found {
		return nil, false
	}
	return ix.entries[i].mac[:], true
}

// apply brings the index from one digest to the next.
func (ix *index) apply(c change) {
	i, found := slices.BinarySearchFunc(ix.entries, entry{key: c.key}, byKey)
	switch {
	case c.come == nil && found:
		ix.entries = slices.Delete(ix.entries, i, i+1)
	case c.come != nil && found:
		ix.entries[i].mac = [shortMAC]byte(shorten(c.come))
	case c.come != nil:
		ix.entries = slices.Insert(ix.entries, i, entry{c.key, [shortMAC]byte(shorten(c.come))})
	}
}

// An indexKey names a part of a set.
type indexKey struct {
	set  string
	part int
}

// A guard keeps the indexes that were proven, and the highest revisions seen: what the database
// shows later must not lie before them.
type guard struct {
	mu      sync.Mutex
	indexes map[indexKey]*index
	entries int // in all indexes
	newest  map[string]seen
	seq     int64 // counts what was learnt into newest
	opened  map[string]opened
	loading [VaultParts]sync.Mutex // of a part, whichever set's; held by whoever reads it
}

// seen is a revision, and when this process learnt of it.
type seen struct{ number, seq int64 }

// maxEntries bounds the indexes: 24 bytes an entry.
const maxEntries = 1 << 20

func newGuard() *guard {
	return &guard{indexes: map[indexKey]*index{}, newest: map[string]seen{}, opened: map[string]opened{}}
}

func (g *guard) lockPart(part int) (unlock func()) {
	g.loading[part].Lock()
	return g.loading[part].Unlock
}

// find looks into the index of a part, if it is at hand for the digest asked for.
func (g *guard) find(k indexKey, digest envelope.Digest, key uint64) (mac []byte, found, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ix := g.indexes[k]
	if ix == nil || !ix.digest.Equal(digest) {
		return nil, false, false
	}
	mac, found = ix.find(key)
	return bytes.Clone(mac), found, true
}

// keep takes an index, if it has no later one of the part.
func (g *guard) keep(k indexKey, ix *index) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if have := g.indexes[k]; have != nil && have.number > ix.number {
		return false
	}
	g.drop(k)
	for other := range g.indexes { // any: all can be made again
		if g.entries+len(ix.entries) <= maxEntries {
			break
		}
		g.drop(other)
	}
	g.indexes[k], g.entries = ix, g.entries+len(ix.entries)
	return true
}

func (g *guard) drop(k indexKey) {
	if ix := g.indexes[k]; ix != nil {
		g.entries -= len(ix.entries)
		delete(g.indexes, k)
	}
}

// committed takes over what a transaction has changed: indexes that stood where the transaction
// began move on, others are made again when they are needed.
func (g *guard) committed(t *Tx) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for set, changes := range t.changes {
		for part := range t.touched(set) {
			k := indexKey{set, part}
			ix := g.indexes[k]
			if ix == nil {
				continue
			}
			before, after := t.base[set].digest, t.revisions[set].digest
			if before == nil || !ix.digest.Equal(before.Part(part)) {
				g.drop(k)
				continue
			}
			g.entries -= len(ix.entries)
			for _, c := range changes {
				if c.part == part {
					ix.apply(c)
				}
			}
			ix.digest, ix.number = after.Part(part), t.revisions[set].number
			g.entries += len(ix.entries)
		}
	}
	for set := range t.base {
		g.learn(set, t.revisions[set].number)
	}
	maps.Copy(g.opened, t.stored)
}

// touched are the parts of a set that the transaction has changed.
func (t *Tx) touched(set string) map[int]bool {
	parts := map[int]bool{}
	for _, c := range t.changes[set] {
		parts[c.part] = true
	}
	return parts
}

// learn notes a revision that is committed.
func (g *guard) learn(set string, number int64) {
	if s, ok := g.newest[set]; !ok || s.number < number {
		g.seq++
		g.newest[set] = seen{number, g.seq}
	}
}

// now is the moment to compare with later: what is learnt before it must show in a snapshot that
// is taken after it.
func (g *guard) now() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seq
}

// checkForward refuses a revision that lies before one that this process knew when the snapshot
// was taken: somebody has put an old state of the database in its place.
func (g *guard) checkForward(set string, number, since int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s, ok := g.newest[set]; ok && s.seq <= since && number < s.number {
		return fmt.Errorf("set %s: revision %d lies before %d, which was there already: %w", set, number, s.number, envelope.ErrTampered)
	}
	g.learn(set, number)
	return nil
}
