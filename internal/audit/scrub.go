package audit

import (
	"cmp"
	"fmt"
	"math"

	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

// placesAtOnce bounds the rows that one step of a proof of places reads.
const placesAtOnce = 5000

// Places is a proof, in steps, of the places of all numbered entries: that none is missing, moved or put
// in, by comparison with the digest of the log. What the entries say is proven by who reads them. Those
// behind the last of the set have their place alone to prove them. Each step may have a snapshot of its
// own: what is added meanwhile is added up behind the rest, and when rows have left for a segment, the
// proof begins anew. The zero value is one that has not begun.
type Places struct {
	began int   // how often it did
	start int64 // the position of the first row when it began; 0 where there was none
	last  int64 // the position of the last row that was read; 0 where none was
	next  int64 // the position behind it
	sum   envelope.Digest

	atOnce int // for tests; 0 means placesAtOnce
}

// Prove is a proof of places in one step.
func Prove(tx *db.Tx) error {
	var p Places
	for {
		if done, err := p.Step(tx); done || err != nil {
			return err
		}
	}
}

// Step reads some rows more and says whether that were all.
func (p *Places) Step(tx *db.Tx) (done bool, err error) {
	if done, err = p.step(tx); err != nil {
		err = fmt.Errorf("prove the audit log: %w", err)
	}
	return done, err
}

func (p *Places) step(tx *db.Tx) (done bool, err error) {
	last, err := Last(tx)
	if err != nil {
		return false, err
	}
	if err := p.begin(tx); err != nil {
		return false, err
	}
	limit := cmp.Or(p.atOnce, placesAtOnce)
	const q = `
		SELECT position, entries, row_mac, position_mac FROM journal
		WHERE position >= $1
		ORDER BY position
		LIMIT $2`
	var macs [][]byte
	read := *p    // of what is in the set
	end := p.next // of all
	rows, again := 0, p.last > 0
	err = tx.Query(func(s db.Scanner) error {
		var r row
		if err := s.Scan(&r.position, &r.entries, &r.mac, &r.placeMAC); err != nil {
			return err
		}
		if again && r.position == p.last { // read before; another of its position is not
			again = false
			return nil
		}
		if rows++; r.position != end || r.entries < 1 {
			return fmt.Errorf("position %d, of %d entries, follows %d: %w", r.position, r.entries, end-1, envelope.ErrTampered)
		}
		if end = r.position + r.entries; r.position <= last {
			macs = append(macs, r.placeMAC)
			read.last, read.next = r.position, end
		}
		return r.provePlace(tx)
	}, q, cmp.Or(p.last, p.next), limit+1)
	if err == nil {
		read.sum, err = tx.AddUp(db.AuditLog, p.sum, macs)
	}
	if err != nil {
		return false, err
	}
	full := rows >= limit && read.last > p.last // there may be another row of the last position
	*p = read
	switch {
	case p.next > last && !full:
		return true, tx.ProveSum(db.AuditLog, p.sum)
	case !full:
		return false, fmt.Errorf("the log ends at position %d and had %d: %w", p.next-1, last, envelope.ErrTampered)
	}
	return false, nil
}

// begin looks where the log begins in the database: at most behind the last segment, since what has just
// left may still be here.
func (p *Places) begin(tx *db.Tx) error {
	closed, err := lastSegment(tx)
	if err != nil {
		return err
	}
	var first *int64
	if err := tx.QueryRow(`SELECT MIN(position) FROM journal`).Scan(&first); err != nil {
		return fmt.Errorf("find the first entry: %w", err)
	}
	start := int64(0)
	if first != nil {
		if start = *first; start < 1 {
			return fmt.Errorf("an entry has position %d: %w", start, envelope.ErrTampered)
		}
	}
	if p.began > 0 && p.start == start {
		return nil
	}
	if p.began == maxBegins {
		return fmt.Errorf("the first position has changed %d times: %w", p.began, envelope.ErrTampered)
	}
	*p = Places{began: p.began + 1, start: start, next: closed.last + 1, atOnce: p.atOnce}
	if 0 < start && start < p.next {
		p.next = start
	}
	return nil
}

// maxBegins bounds how often a proof begins anew: more often than a segment's rows leave in parts.
const maxBegins = 1000

// ProveEntries proves what the entries of at most limit numbered rows say, from a position on, and of
// all that have no number yet. It returns where to go on: at the beginning again after the end.
func ProveEntries(tx *db.Tx, from int64, limit int) (next int64, err error) {
	const numbered = `
		SELECT position, commit_id, tenant_id, committed_us, entries, records, row_mac FROM journal
		WHERE position >= $1
		ORDER BY position
		LIMIT $2`
	const waiting = `
		SELECT 0, commit_id, tenant_id, committed_us, entries, records, row_mac FROM journal
		WHERE position IS NULL AND committed_us >= $1
		LIMIT $2`
	rows := 0
	prove := func(s db.Scanner) error {
		var r row
		if err := s.Scan(&r.position, &r.id, &r.tenant, &r.committed, &r.entries, &r.records, &r.mac); err != nil {
			return err
		}
		if err := r.prove(tx); err != nil {
			return fmt.Errorf("commit %s at position %d: %w", r.id, r.position, err)
		}
		next, rows = r.position+r.entries, rows+1
		return nil
	}
	err = tx.Query(prove, waiting, int64(math.MinInt64), limit)
	if err == nil {
		rows = 0
		err = tx.Query(prove, numbered, from, limit)
	}
	if err != nil {
		return 0, fmt.Errorf("prove the audit entries: %w", err)
	}
	if rows < limit {
		next = 0
	}
	return next, nil
}
