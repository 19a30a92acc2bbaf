package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/durable"
	"strongroom/internal/envelope"
	"strongroom/internal/segment"
)

// An Archive moves the old part of the log out of the database, into files that are signed and may
// be carried away: a database that keeps every entry for years is slow to look through and to dump.
//
// A range leaves in steps, and a crash between any two leaves nothing missing and nothing twice: the
// file is written and durable; then a row says that the range is there, with the digest of the file;
// then the rows of the journal go, some at a time. Positions stay what they were.
type Archive struct {
	Folder     string        // of the files; made when it is needed
	Node       string        // who writes them
	Deployment string        // whose log it is
	Tenant     string        // whose log it is
	MaxAge     time.Duration // after which an entry leaves with all before it
	MaxEntries int64         // above which the oldest leave
}

// settled is the age that an entry has at least when it leaves: long after the time within which
// the outcome of its commit may still be asked for by its row in the journal.
const settled = time.Minute

// removeBytes and removeAtOnce bound what one transaction removes, so that requests do not wait for it.
const (
	removeBytes  = 256 << 10
	removeAtOnce = 500
)

// Close writes segments until no more are due, and removes from the journal what is in them.
func (a *Archive) Close(ctx context.Context, d *db.DB) error {
	for {
		if err := a.removeClosed(ctx, d); err != nil {
			return err
		}
		closed, err := a.closeOne(ctx, d)
		if err != nil || !closed {
			return err
		}
	}
}

// closeOne writes one segment if one is due.
func (a *Archive) closeOne(ctx context.Context, d *db.DB) (closed bool, err error) {
	var due segment.Index
	err = d.View(ctx, func(tx *db.Tx) (err error) {
		due, err = a.due(tx)
		return err
	})
	if err != nil || due.Last < due.First {
		return false, err
	}
	index, digest, err := a.write(ctx, d, due)
	if err != nil || digest == nil {
		return false, err
	}
	err = d.Update(ctx, []string{db.Segments}, func(tx *db.Tx) error { return a.note(tx, index, digest) })
	if err != nil && !errors.Is(err, db.ErrUnknownOutcome) { // or the file would lie there for ever
		err = errors.Join(err, os.Remove(filepath.Join(a.Folder, a.fileName(index, digest))))
	}
	if err != nil {
		return false, fmt.Errorf("note the audit segment from position %d on: %w", index.First, err)
	}
	return true, nil
}

// note puts the row of a segment, if none was closed since it was begun and its file is there: a node that
// was held up goes on when another has long had its turn. Other files of the range stay: they may be all
// that is left of a log whose database was put back.
func (a *Archive) note(tx *db.Tx, index segment.Index, digest []byte) error {
	before, err := lastSegment(tx)
	if err != nil {
		return err
	}
	if before.last+1 != index.First || before.digest != index.Previous {
		return fmt.Errorf("another node has closed the log up to position %d meanwhile", before.last)
	}
	name := a.fileName(index, digest)
	if _, err := os.Stat(filepath.Join(a.Folder, name)); err != nil {
		return fmt.Errorf("look for the audit segment: %w", err)
	}
	_, err = tx.Put(db.AuditSegments, nil, a.Tenant, index.First, index.Last, name, a.Node, digest, index.ClosedUs)
	return err
}

// due is the range that has to leave, empty if none has: Last then lies before First.
func (a *Archive) due(tx *db.Tx) (segment.Index, error) {
	before, err := lastSegment(tx)
	if err != nil {
		return segment.Index{}, err
	}
	due := segment.Index{
		Deployment: a.Deployment, Tenant: a.Tenant, Node: a.Node, First: before.last + 1, Last: before.last, Previous: before.digest,
	}
	last, err := Last(tx)
	if err != nil || last < due.First {
		return due, err
	}
	old := tx.Now.Add(-a.MaxAge).UnixMicro()
	var oldest int64
	err = tx.QueryRow(`SELECT committed_us FROM journal WHERE position = $1`, due.First).Scan(&oldest)
	if err != nil {
		return due, fmt.Errorf("look how old position %d of the audit log is: %w", due.First, err)
	}
	if oldest <= old || last-before.last >= a.MaxEntries {
		due.Last = min(last, before.last+a.MaxEntries)
	}
	return due, nil
}

// write writes the file of a range, of whole rows of the journal, the last of which may end before
// due.Last: rows that are not settled stay.
func (a *Archive) write(ctx context.Context, d *db.DB, due segment.Index) (index segment.Index, digest []byte, err error) {
	if err := os.MkdirAll(a.Folder, 0o700); err != nil {
		return index, nil, fmt.Errorf("make the folder of audit segments: %w", err)
	}
	if err := a.removeUnfinished(); err != nil {
		return index, nil, fmt.Errorf("remove an unfinished audit segment: %w", err)
	}
	f, err := os.CreateTemp(a.Folder, unfinished+"*") // O_EXCL, 0600
	if err != nil {
		return index, nil, fmt.Errorf("make an audit segment: %w", err)
	}
	defer os.Remove(f.Name()) // after the rename there is nothing of that name
	w, err := segment.NewWriter(f, due)
	if err == nil {
		err = addRows(ctx, d, w, due)
	}
	if err == nil {
		err = d.View(ctx, func(tx *db.Tx) (err error) {
			index, digest, err = w.Close(tx.Ring(), tx.Micros())
			return err
		})
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return index, nil, fmt.Errorf("write an audit segment from position %d on: %w", due.First, err)
	}
	if index.Last < index.First {
		return index, nil, nil // nothing is settled
	}
	if err := durable.Rename(f.Name(), filepath.Join(a.Folder, a.fileName(index, digest))); err != nil {
		return index, nil, fmt.Errorf("name an audit segment: %w", err)
	}
	return index, digest, nil
}

// removeUnfinished removes what processes have left that died.
func (a *Archive) removeUnfinished() error {
	all, err := os.ReadDir(a.Folder)
	for _, f := range all {
		if strings.HasPrefix(f.Name(), unfinished) {
			err = errors.Join(err, os.Remove(filepath.Join(a.Folder, f.Name())))
		}
	}
	return err
}

// addAtOnce bounds the rows that one snapshot reads, so that none is held for long. Rows that have
// their place do not change.
const addAtOnce = 1000

// addRows proves the rows of a range and adds their records.
func addRows(ctx context.Context, d *db.DB, w *segment.Writer, due segment.Index) error {
	for next, more := due.First, true; more; {
		began := time.Now()
		err := d.View(ctx, func(tx *db.Tx) (err error) {
			next, more, err = addSome(tx, w, next, due.Last)
			return err
		})
		if err != nil {
			return err
		}
		if err := db.Rest(ctx, restAfter*time.Since(began)); err != nil {
			return err
		}
	}
	return nil
}

// restAfter is how much longer than a step the rest behind it is, since nobody waits for the work: of a
// processor it takes a quarter at most, which is 200,000 entries in twelve seconds.
const restAfter = 3

// addSome adds rows from a position on, and says where to go on, if anywhere.
func addSome(tx *db.Tx, w *segment.Writer, from, last int64) (next int64, more bool, err error) {
	const q = `
		SELECT position, commit_id, tenant_id, committed_us, entries, records, row_mac, position_mac FROM journal
		WHERE position >= $1 AND position <= $2
		ORDER BY position
		LIMIT $3`
	next, rows, full := from, 0, false
	settledUs := tx.Now.Add(-settled).UnixMicro()
	err = tx.Query(func(s db.Scanner) error {
		r, err := scanRow(s)
		if err != nil || full {
			return err
		}
		if r.position != next {
			return fmt.Errorf("position %d follows %d: %w", r.position, next-1, envelope.ErrTampered)
		}
		if full = r.committed > settledUs; full {
			return nil
		}
		next, rows = next+r.entries, rows+1
		return r.each(tx, func(_ int64, record []byte) error { return w.Add(record) })
	}, q, from, last, addAtOnce)
	more = rows == addAtOnce && !full
	if err == nil && !more && !full && next <= last { // Prove names who took them, if it was no other node
		err = fmt.Errorf("the journal has no positions from %d to %d any more", next, last)
	}
	return next, more, err
}

// removeClosed removes from the journal what is in a segment.
func (a *Archive) removeClosed(ctx context.Context, d *db.DB) error {
	for {
		began, removed := time.Now(), 0
		err := d.Update(ctx, []string{db.AuditLog, db.Segments}, func(tx *db.Tx) error {
			before, err := lastSegment(tx)
			if err == nil {
				removed, err = removeRows(tx, before.last)
			}
			return err
		})
		if err != nil || removed == 0 {
			return err
		}
		if err := db.Rest(ctx, restAfter*time.Since(began)); err != nil {
			return err
		}
	}
}

// removeRows removes some rows of the journal up to a position, from the first on.
func removeRows(tx *db.Tx, last int64) (removed int, err error) {
	const q = `
		SELECT commit_id, position, row_mac, position_mac, LENGTH(records) FROM journal
		WHERE position <= $1
		ORDER BY position
		LIMIT $2`
	var ids []string
	var macs [][]byte
	size := int64(0)
	err = tx.Query(func(s db.Scanner) error {
		var r row
		var length int64
		err := s.Scan(&r.id, &r.position, &r.mac, &r.placeMAC, &length)
		if err == nil {
			err = r.provePlace(tx) // what is none of ours is not in the digest that it would leave
		}
		if size < removeBytes {
			ids, macs = append(ids, r.id), append(macs, r.placeMAC)
		}
		size += length
		return err
	}, q, last, removeAtOnce)
	for i := 0; err == nil && i < len(ids); i++ {
		if _, err = tx.Exec(`DELETE FROM journal WHERE commit_id = $1`, ids[i]); err == nil {
			err = tx.Fold(db.AuditLog, 0, 0, macs[i], nil)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("remove closed entries from the journal: %w", err)
	}
	return len(ids), nil
}

// Read returns at least one and about limit entries from position from on, in order, from wherever
// they are; none when the log ends before it.
func (a *Archive) Read(tx *db.Tx, from int64, limit int) ([]Positioned, error) {
	from = max(from, 1)
	out, err := readJournal(tx, from, limit)
	if err != nil || len(out) > 0 && out[0].Position == from {
		return out, err
	}
	s, err := segmentOf(tx, from)
	if err != nil || s.last < from {
		if err == nil && len(out) > 0 {
			err = fmt.Errorf("read the audit log: position %d is neither in the journal nor in a segment: %w", from, envelope.ErrTampered)
		}
		return nil, err
	}
	out, err = a.readSegment(tx, s, from, limit)
	if err != nil {
		return nil, fmt.Errorf("read the audit log from position %d: %w", from, err)
	}
	return out, nil
}

func (a *Archive) readSegment(tx *db.Tx, s segmentRow, from int64, limit int) (out []Positioned, err error) {
	f, err := os.Open(filepath.Join(a.Folder, s.file))
	if errors.Is(err, os.ErrNotExist) {
		return nil, &MissingSegment{File: s.file, Node: s.node, Next: s.last + 1}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	open, err := segment.Open(f, info.Size(), tx.Ring().VerifyKeys())
	if err == nil && hexDigest(open.Digest) != s.digest {
		err = fmt.Errorf("%w: it is another one than the database says", segment.ErrForeign)
	}
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w", s.file, err)
	}
	err = open.Records(from, func(position int64, record []byte) (bool, error) {
		e, err := Decode(record)
		out = append(out, Positioned{Position: position, Entry: e})
		return len(out) < limit, err
	})
	return out, err
}

// A MissingSegment is the error for entries whose file is not in this node's folder: it was carried
// away, or another node wrote it.
type MissingSegment struct {
	File, Node string
	Next       int64 // the position behind it
}

func (e *MissingSegment) Error() string {
	return fmt.Sprintf("the audit segment %s, written by node %s, is not here: put it back into the folder of segments, or read on from position %d", e.File, e.Node, e.Next)
}

// A segmentRow is what the database says of a segment.
type segmentRow struct {
	first, last        int64
	file, node, digest string
}

// lastSegment is the newest one; the zero row if there is none.
func lastSegment(tx *db.Tx) (segmentRow, error) {
	return segmentWhere(tx, `first_position = (SELECT MAX(first_position) FROM audit_segments)`)
}

// segmentOf is the one that begins at a position or before, and next to it.
func segmentOf(tx *db.Tx, position int64) (segmentRow, error) {
	return segmentWhere(tx, `first_position = (SELECT MAX(first_position) FROM audit_segments WHERE first_position <= $1)`, position)
}

func segmentWhere(tx *db.Tx, where string, args ...any) (segmentRow, error) {
	q := `SELECT ` + db.AuditSegments.Columns("") + ` FROM audit_segments WHERE ` + where
	s, _, err := db.ReadRow(tx, db.AuditSegments, scanSegment, q, args...)
	return s, err
}

func scanSegment(row db.Scanner) (s segmentRow, seal db.Seal, err error) {
	var tenant string
	var closed int64
	var digest, mac []byte
	err = row.Scan(&tenant, &s.first, &s.last, &s.file, &s.node, &digest, &closed, &mac)
	s.digest = hexDigest(digest)
	return s, db.Seal{Fields: []any{tenant, s.first, s.last, s.file, s.node, digest, closed}, MAC: mac}, err
}

// ProveSegments proves what the database says of the segments: that they are one range from the first
// entry on, and that none is missing. The files are proven by who reads them.
func ProveSegments(tx *db.Tx) error {
	if err := tx.ProvePart(db.Segments, 0); err != nil {
		return err
	}
	q := `SELECT ` + db.AuditSegments.Columns("") + ` FROM audit_segments ORDER BY first_position`
	all, err := db.ReadRows(tx, db.AuditSegments, scanSegment, q)
	next := int64(1)
	for _, s := range all {
		if err == nil && s.first != next {
			err = fmt.Errorf("audit segment %s does not begin at position %d: %w", s.file, next, envelope.ErrTampered)
		}
		next = s.last + 1
	}
	return err
}

func hexDigest(b []byte) string { return fmt.Sprintf("%x", b) }

// suffix ends the name of a segment, and unfinished begins that of one that is being written.
const (
	suffix     = ".segment"
	unfinished = "unfinished-"
)

// fileName sorts as the positions do, and tells deployments apart whose files lie together, and files of
// one range.
func (a *Archive) fileName(x segment.Index, digest []byte) string {
	return fmt.Sprintf("audit-%.8s-%016d-%016d-%.8s%s", a.Deployment, x.First, x.Last, hexDigest(digest), suffix)
}
