package audit

import (
	"errors"
	"fmt"

	"strongroom/internal/db"
)

// numberingScope is the revision row by which the nodes take turns at numbering.
const numberingScope = "audit"

// positionKey is the meta row that holds the position of the last numbered entry.
const positionKey = "audit_position"

// numberAtOnce bounds the work of one numbering transaction.
const numberAtOnce = 500

// NumberingLocks are the locks of an Update that calls Number.
func NumberingLocks() []string { return []string{numberingScope} }

// Number gives positions to entries that have none yet, oldest commit first, without gaps, and
// says how many journal rows it numbered. Readers go by positions alone: an entry without one is
// durable but not yet part of the log. Numbering is apart from storing, because commits end in
// another order than they begin, and a follower must never see 4 before 3.
func Number(tx *db.Tx) (rows int, err error) {
	if _, err := tx.Raise(numberingScope); err != nil {
		return 0, err
	}
	last, err := lastPosition(tx)
	if err != nil {
		return 0, err
	}
	type row struct {
		id      string
		entries int64
	}
	var waiting []row
	const q = `
		SELECT commit_id, entries FROM journal
		WHERE position IS NULL
		ORDER BY committed_us, commit_id
		LIMIT $1`
	err = tx.Query(func(s db.Scanner) error {
		var r row
		err := s.Scan(&r.id, &r.entries)
		waiting = append(waiting, r)
		return err
	}, q, numberAtOnce)
	if err != nil {
		return 0, fmt.Errorf("find entries without a position: %w", err)
	}
	for _, r := range waiting {
		if _, err := tx.Exec(`UPDATE journal SET position = $1 WHERE commit_id = $2`, last+1, r.id); err != nil {
			return 0, fmt.Errorf("number a journal row: %w", err)
		}
		last += r.entries
	}
	if len(waiting) == 0 {
		return 0, nil
	}
	return len(waiting), tx.SetMeta(positionKey, fmt.Sprint(last))
}

func lastPosition(tx *db.Tx) (int64, error) {
	text, err := tx.Meta(positionKey)
	if err != nil || text == "" {
		return 0, err
	}
	var n int64
	if _, err := fmt.Sscan(text, &n); err != nil {
		return 0, fmt.Errorf("meta %s is %q: want a number", positionKey, text)
	}
	return n, nil
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
func Last(tx *db.Tx) (int64, error) { return lastPosition(tx) }

// Read returns at least one and about limit entries from position from on, in order; none when
// the log ends before it.
func Read(tx *db.Tx, from int64, limit int) ([]Positioned, error) {
	// The row that holds from begins at or before it; the index finds it without a walk.
	const q = `
		SELECT position, records FROM journal
		WHERE position >= COALESCE((SELECT MAX(position) FROM journal WHERE position <= $1), 0)
		ORDER BY position
		LIMIT $2`
	var out []Positioned
	err := tx.Query(func(s db.Scanner) error {
		var position int64
		var b []byte
		if err := s.Scan(&position, &b); err != nil {
			return err
		}
		entries, err := decodeRow(position, b)
		for _, p := range entries {
			if p.Position >= from && len(out) < limit {
				out = append(out, p)
			}
		}
		return err
	}, q, from, limit)
	if err != nil {
		return nil, fmt.Errorf("read the audit log from position %d: %w", from, err)
	}
	return out, nil
}

func decodeRow(position int64, b []byte) ([]Positioned, error) {
	records, err := db.SplitRecords(b)
	if err != nil {
		return nil, err
	}
	out := make([]Positioned, len(records))
	for i, r := range records {
		e, err := Decode(r)
		if err != nil {
			return nil, fmt.Errorf("position %d: %w", position+int64(i), err)
		}
		out[i] = Positioned{Position: position + int64(i), Entry: e}
	}
	return out, nil
}
