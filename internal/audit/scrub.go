package audit

import (
	"fmt"

	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

// Prove compares the places of all numbered entries with the digest of the log: that none is
// missing, moved or put in. What the entries say is proven by who reads them. Those behind the last of
// the set have their place alone to prove them.
func Prove(tx *db.Tx) error {
	last, err := Last(tx)
	if err != nil {
		return err
	}
	closed, err := lastSegment(tx)
	if err != nil {
		return err
	}
	var macs [][]byte
	next := closed.last + 1 // at most: what has just left may still be here
	first := true
	const q = `SELECT position, entries, row_mac, position_mac FROM journal WHERE position IS NOT NULL ORDER BY position`
	err = tx.Query(func(s db.Scanner) error {
		var r row
		if err := s.Scan(&r.position, &r.entries, &r.mac, &r.placeMAC); err != nil {
			return err
		}
		if r.position != next && (!first || r.position > next) {
			return fmt.Errorf("position %d follows %d: %w", r.position, next-1, envelope.ErrTampered)
		}
		next, first = r.position+r.entries, false
		if r.position <= last {
			macs = append(macs, r.placeMAC)
		}
		return r.provePlace(tx)
	}, q)
	if err == nil && next <= last {
		err = fmt.Errorf("the log ends at position %d and had %d: %w", next-1, last, envelope.ErrTampered)
	}
	if err != nil {
		return fmt.Errorf("prove the audit log: %w", err)
	}
	return tx.ProveSum(db.AuditLog, macs)
}

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
	err = tx.Query(prove, waiting, 0, limit)
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
