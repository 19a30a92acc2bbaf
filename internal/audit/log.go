package audit

import (
	"errors"
	"fmt"

	"strongroom/internal/db"
)

// numberingScope is the revision row by which the nodes take turns at numbering. The number of its
// members is that of all entries that ever got a position.
const numberingScope = "audit"

// positionTable names what binds a journal row, which has a MAC of its own, to its place.
const positionTable = "journal position"

// numberAtOnce bounds the work of one numbering transaction.
const numberAtOnce = 500

// NumberingLocks are the locks of an Update that calls Number.
func NumberingLocks() []string { return []string{numberingScope} }

// Number gives positions to entries that have none yet, oldest commit first, without gaps, and
// says how many journal rows it numbered. Readers go by positions alone: an entry without one is
// durable but not yet part of the log. Numbering is apart from storing, because commits end in
// another order than they begin, and a follower must never see 4 before 3.
//
// A numbered row is a member of the set of the log: its digest stands with the number of the last
// entry, so that a row that is cut off, forged or moved is noticed.
func Number(tx *db.Tx) (rows int, err error) {
	last, err := Last(tx)
	if err != nil {
		return 0, err
	}
	const q = `
		SELECT commit_id, tenant_id, committed_us, entries, records, row_mac FROM journal
		WHERE position IS NULL
		ORDER BY committed_us, commit_id
		LIMIT $1`
	var waiting []row
	err = tx.Query(func(s db.Scanner) error {
		var r row
		err := s.Scan(&r.id, &r.tenant, &r.committed, &r.entries, &r.records, &r.mac)
		if err == nil && r.prove(tx) == nil { // a forged one stays without a number; ProveEntries names it
			waiting = append(waiting, r)
		}
		return err
	}, q, numberAtOnce)
	if err != nil {
		return 0, fmt.Errorf("find entries without a position: %w", err)
	}
	for _, r := range waiting {
		mac := tx.Ring().RowMAC(positionTable, last+1, r.mac)
		if _, err := tx.Exec(`UPDATE journal SET position = $1, position_mac = $2 WHERE commit_id = $3`, last+1, mac, r.id); err != nil {
			return 0, fmt.Errorf("number a journal row: %w", err)
		}
		if err := tx.Fold(numberingScope, 0, r.entries, nil, mac); err != nil {
			return 0, err
		}
		last += r.entries
	}
	return len(waiting), nil
}

// A Positioned is an entry with its place in the log.
type Positioned struct {
	Position int64
	Entry    Entry
}

// Waiting says whether there are entries without a position.
func Waiting(tx *db.Tx) (bool, error) {
	var one int
	err := tx.QueryRow(`SELECT 1 FROM journal WHERE position IS NULL LIMIT 1`).Scan(&one)
	if errors.Is(err, db.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Last is the position of the last numbered entry; zero when there is none.
func Last(tx *db.Tx) (int64, error) { return tx.Members(numberingScope) }

// readJournal reads of the part of the log that is in the database; what lies before it is passed
// over.
func readJournal(tx *db.Tx, from int64, limit int) ([]Positioned, error) {
	// The row that holds from begins at or before it; the index finds it without a walk.
	const q = `
		SELECT position, commit_id, tenant_id, committed_us, entries, records, row_mac, position_mac FROM journal
		WHERE position >= COALESCE((SELECT MAX(position) FROM journal WHERE position <= $1), 0)
		ORDER BY position
		LIMIT $2`
	var out []Positioned
	err := tx.Query(func(s db.Scanner) error {
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
	}, q, from, limit)
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
	mac, positionMAC   []byte
}

// scanRow reads all columns of a numbered row.
func scanRow(s db.Scanner) (r row, err error) {
	err = s.Scan(&r.position, &r.id, &r.tenant, &r.committed, &r.entries, &r.records, &r.mac, &r.positionMAC)
	return r, err
}

// prove says whether the row is one that the committer stored.
func (r row) prove(tx *db.Tx) error {
	return tx.Ring().CheckRow(r.mac, db.JournalTable, r.id, r.tenant, r.committed, r.entries, r.records)
}

// each proves a row and its place, and hands its records out.
func (r row) each(tx *db.Tx, add func(position int64, record []byte) error) error {
	err := r.prove(tx)
	if err == nil {
		err = tx.Ring().CheckRow(r.positionMAC, positionTable, r.position, r.mac)
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
