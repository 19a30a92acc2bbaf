package audit

import (
	"fmt"
	"time"

	"strongroom/internal/db"
)

// rowCost is about what a journal row takes up in the database beside its entries: ids, MACs and
// its places in three indexes.
const rowCost = 300

// A Volume is how much of the audit log is stored.
type Volume struct {
	Entries     int64     // in the database
	Bytes       int64     // that these take up there, about
	First, Last time.Time // of the commits in the database; zero where there is none
	Segments    []SegmentFile
}

// A SegmentFile is one whose entries have left the database.
type SegmentFile struct {
	Name    string
	Entries int64
}

// MeasureVolume looks at what is stored. It proves nothing, since it decides nothing.
func MeasureVolume(tx *db.Tx) (v Volume, err error) {
	const q = `
		SELECT COUNT(*), CAST(COALESCE(SUM(entries), 0) AS BIGINT), CAST(COALESCE(SUM(LENGTH(records)), 0) AS BIGINT),
			COALESCE(MIN(committed_us), 0), COALESCE(MAX(committed_us), 0)
		FROM journal`
	var rows, first, last int64
	if err := tx.QueryRow(q).Scan(&rows, &v.Entries, &v.Bytes, &first, &last); err != nil {
		return v, fmt.Errorf("measure the audit log: %w", err)
	}
	if v.Bytes += rows * rowCost; rows > 0 {
		v.First, v.Last = time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC()
	}
	err = tx.Query(func(s db.Scanner) error {
		var f SegmentFile
		err := s.Scan(&f.Name, &f.Entries)
		v.Segments = append(v.Segments, f)
		return err
	}, `SELECT file, last_position - first_position + 1 FROM audit_segments ORDER BY first_position`)
	if err != nil {
		return v, fmt.Errorf("measure the audit segments: %w", err)
	}
	return v, nil
}
