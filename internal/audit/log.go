package audit

import (
	"fmt"
	"math"

	"strongroom/internal/db"
)

// numberAtOnce bounds the rows of one numbering transaction: nothing else is written meanwhile.
const numberAtOnce = 200

// NumberingLocks are the locks of an Update that calls Number: by them the nodes take turns.
func NumberingLocks() []string { return []string{db.AuditLog} }

// Number makes journal rows part of the log, and says how many: those that got their place as they
// were stored, by position, and then those that have none yet, oldest commit first, without gaps.
// Readers go by positions alone: an entry without one is durable but not yet part of the log.
// Where more than one process writes, numbering is apart from storing, because commits end in
// another order than they begin, and a follower must never see 4 before 3.
//
// A numbered row is a member of the set of the log: its digest stands with the number of the last
// entry, so that a row that is cut off, forged or moved is noticed.
func Number(tx *db.Tx) (rows int, err error) {
	placed, err := addPlaced(tx, numberAtOnce)
	if err != nil || placed == numberAtOnce { // only behind all of them the others may follow
		return placed, err
	}
	given, err := placeWaiting(tx, numberAtOnce-placed)
	return placed + given, err
}

// addPlaced adds rows to the set that have a place behind its last. One that is missing in between is
// named by Prove.
func addPlaced(tx *db.Tx, limit int) (rows int, err error) {
	last, err := Last(tx)
	if err != nil {
		return 0, err
	}
	const q = `
		SELECT position, commit_id, tenant_id, committed_us, entries, records, row_mac, position_mac FROM journal
		WHERE position > $1
		ORDER BY position
		LIMIT $2`
	var placed []row
	for from, found := last, limit; found == limit && len(placed) < limit; {
		found = 0
		err := tx.Query(func(s db.Scanner) error {
			r, err := scanRow(s)
			from, found = r.position, found+1
			if err == nil && len(placed) < limit && r.prove(tx) == nil && r.provePlace(tx) == nil { // Prove and ProveEntries name a forged one
				r.records = nil
				placed = append(placed, r)
			}
			return err
		}, q, from, limit)
		if err != nil {
			return 0, fmt.Errorf("find entries that are not in the set of the log: %w", err)
		}
	}
	for _, r := range placed {
		before := last
		last = r.position + r.entries - 1
		if err := tx.Fold(db.AuditLog, 0, last-before, nil, r.placeMAC); err != nil {
			return 0, err
		}
	}
	return len(placed), nil
}

// placeWaiting gives places to rows that have none, and adds them to the set.
func placeWaiting(tx *db.Tx, limit int) (rows int, err error) {
	const q = `
		SELECT commit_id, tenant_id, committed_us, entries, records, row_mac FROM journal
		WHERE position IS NULL AND (committed_us, commit_id) > ($1, $2)
		ORDER BY committed_us, commit_id
		LIMIT $3`
	var waiting []row
	last := row{committed: math.MinInt64}
	for found := limit; found == limit && len(waiting) < limit; {
		found = 0
		err := tx.Query(func(s db.Scanner) error {
			var r row
			err := s.Scan(&r.id, &r.tenant, &r.committed, &r.entries, &r.records, &r.mac)
			last, found = r, found+1
			if err == nil && len(waiting) < limit && r.prove(tx) == nil { // a forged one stays without a number; ProveEntries names it
				waiting = append(waiting, r)
			}
			return err
		}, q, last.committed, last.id, limit)
		if err != nil {
			return 0, fmt.Errorf("find entries without a position: %w", err)
		}
	}
	for _, r := range waiting {
		position, mac, err := tx.Place(r.entries, r.mac)
		if err != nil {
			return 0, err
		}
		if _, err := tx.Exec(`UPDATE journal SET position = $1, position_mac = $2 WHERE commit_id = $3`, position, mac, r.id); err != nil {
			return 0, fmt.Errorf("number a journal row: %w", err)
		}
		if err := tx.Fold(db.AuditLog, 0, r.entries, nil, mac); err != nil {
			return 0, err
		}
	}
	return len(waiting), nil
}

// A Positioned is an entry with its place in the log.
type Positioned struct {
	Position int64
	Entry    Entry
}

// Waiting says whether there are entries that are not yet part of the log.
func Waiting(tx *db.Tx) (bool, error) {
	last, err := Last(tx)
	if err != nil {
		return false, err
	}
	const q = `SELECT EXISTS (SELECT 1 FROM journal WHERE position > $1) OR EXISTS (SELECT 1 FROM journal WHERE position IS NULL)`
	var waiting bool
	if err := tx.QueryRow(q, last).Scan(&waiting); err != nil {
		return false, fmt.Errorf("look for entries that wait: %w", err)
	}
	return waiting, nil
}

// Last is the position of the last numbered entry; zero when there is none.
func Last(tx *db.Tx) (int64, error) { return tx.Members(db.AuditLog) }

// readJournal reads of the part of the log that is in the database; what lies before it is passed
// over.
func readJournal(tx *db.Tx, from int64, limit int) ([]Positioned, error) {
	last, err := Last(tx)
	if err != nil {
		return nil, err
	}
	// The row that holds from begins at or before it; the index finds it without a walk.
	const q = `
		SELECT position, commit_id, tenant_id, committed_us, entries, records, row_mac, position_mac FROM journal
		WHERE position >= COALESCE((SELECT MAX(position) FROM journal WHERE position <= $1), 0) AND position <= $3
		ORDER BY position
		LIMIT $2`
	var out []Positioned
	err = tx.Query(func(s db.Scanner) error {
		r, err := scanRow(s)
		if err != nil {
			return err
		}
		return r.each(tx, func(position int64, record []byte) error {
			if position < from || len(out) >= limit {
				return nil
			}
			e, err := Decode(record)
			out = append(out, Positioned{Position: position, Entry: e})
			return err
		})
	}, q, from, limit, last)
	if err != nil {
		return nil, fmt.Errorf("read the audit log from position %d: %w", from, err)
	}
	return out, nil
}

// A row is a numbered row of the journal.
type row struct {
	position           int64 // of the first entry
	id, tenant         string
	committed, entries int64
	records            []byte
	mac, placeMAC      []byte
}

// scanRow reads all columns of a numbered row.
func scanRow(s db.Scanner) (r row, err error) {
	err = s.Scan(&r.position, &r.id, &r.tenant, &r.committed, &r.entries, &r.records, &r.mac, &r.placeMAC)
	return r, err
}

// prove says whether the row is one that the committer stored.
func (r row) prove(tx *db.Tx) error {
	return tx.Ring().CheckRow(r.mac, db.JournalTable, r.id, r.tenant, r.committed, r.entries, r.records)
}

// provePlace says whether the row has got its place from us.
func (r row) provePlace(tx *db.Tx) error { return tx.CheckPlace(r.placeMAC, r.position, r.mac) }

// each proves a row and its place, and hands its records out.
func (r row) each(tx *db.Tx, add func(position int64, record []byte) error) error {
	err := r.prove(tx)
	if err == nil {
		err = r.provePlace(tx)
	}
	if err != nil {
		return fmt.Errorf("position %d: %w", r.position, err)
	}
	records, err := db.SplitRecords(r.records)
	if err != nil {
		return err
	}
	for i, record := range records {
		if err := add(r.position+int64(i), record); err != nil {
			return fmt.Errorf("position %d: %w", r.position+int64(i), err)
		}
	}
	return nil
}
