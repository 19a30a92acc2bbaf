package db

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"strongroom/internal/envelope"
)

// JournalTable is what the MAC of a journal row is of: commit id, tenant id, time of the commit,
// number of entries, and the records.
const JournalTable = "journal"

// placeTable is what the MAC of a row's place is of: the position of its first entry, and the row's
// own MAC.
const placeTable = "journal position"

// newCommitID returns 32 lower-case hex characters: microseconds since 1970 in fourteen, and randomness.
// Ids that rise keep the index of the journal growing at one end: each commit would write a page of its
// own otherwise.
func newCommitID() string {
	var us [8]byte
	binary.BigEndian.PutUint64(us[:], uint64(time.Now().UnixMicro()))
	return hex.EncodeToString(us[1:]) + NewID()[14:]
}

// storeJournal writes the commit's records as one row: each is a uvarint length and its bytes. Where
// this process is the only writer, commits end in the order in which they begin, and the row gets its
// place in the audit log at once; else audit.Number gives it one later.
func (d *DB) storeJournal(tx *Tx, id string) error {
	if len(tx.records) == 0 {
		return nil
	}
	size := 0
	for _, r := range tx.records {
		size += binary.MaxVarintLen32 + len(r)
	}
	b := make([]byte, 0, size)
	for _, r := range tx.records {
		b = AppendRecord(b, r)
	}
	fields := []any{id, d.tenant, tx.Micros(), len(tx.records), b}
	mac := d.ring.RowMAC(JournalTable, fields...)
	var position, placeMAC any
	if d.engine.alone {
		var err error
		if position, placeMAC, err = tx.Place(int64(len(tx.records)), mac); err != nil {
			return err
		}
	}
	const q = `
		INSERT INTO journal (commit_id, tenant_id, committed_us, entries, records, row_mac, position, position_mac)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	n, err := tx.Exec(q, append(fields, mac, position, placeMAC)...)
	if err == nil && n != 1 { // by somebody's rule
		err = fmt.Errorf("%d rows were stored, want one: %w", n, envelope.ErrTampered)
	}
	if err != nil {
		return fmt.Errorf("store the journal: %w", err)
	}
	return nil
}

// Place gives a journal row with a number of entries, given by its MAC, the next place in the audit
// log. Where others write too, the transaction must have locked AuditLog, and folds the row into it.
func (t *Tx) Place(entries int64, rowMAC []byte) (position int64, placeMAC []byte, err error) {
	if position, err = t.nextPosition(); err != nil {
		return 0, nil, err
	}
	if t.db.engine.alone {
		t.next = position + entries
	}
	return position, t.db.ring.RowMAC(placeTable, position, rowMAC), nil
}

// CheckPlace says whether a journal row, given by its MAC, has got its place from us.
func (t *Tx) CheckPlace(placeMAC []byte, position int64, rowMAC []byte) error {
	return t.db.ring.CheckRow(placeMAC, placeTable, position, rowMAC)
}

// nextPosition is the position behind all rows that have a place.
func (t *Tx) nextPosition() (int64, error) {
	if t.next > 0 {
		return t.next, nil
	}
	if t.db.engine.alone && t.db.next > 0 {
		return t.db.next, nil
	}
	log, err := t.read(AuditLog)
	if err != nil {
		return 0, err
	}
	if t.db.engine.alone {
		return t.endOfLog(log.members + 1)
	}
	return log.members + 1, nil
}

// endOfLog is the position behind all journal rows that have a place, from a position on: the last of
// them are not yet part of the set. Rows that are not ours hold no place.
func (t *Tx) endOfLog(from int64) (next int64, err error) {
	const q = `
		SELECT commit_id, tenant_id, committed_us, entries, records, row_mac, position, position_mac FROM journal
		WHERE position >= $1
		ORDER BY position`
	next = from
	err = t.Query(func(s Scanner) error {
		var id, tenant string
		var committed, entries, position int64
		var records, mac, placeMAC []byte
		if err := s.Scan(&id, &tenant, &committed, &entries, &records, &mac, &position, &placeMAC); err != nil {
			return err
		}
		if t.db.ring.CheckRow(mac, JournalTable, id, tenant, committed, entries, records) == nil && t.CheckPlace(placeMAC, position, mac) == nil {
			next = position + entries
		}
		return nil
	}, q, from)
	if err != nil {
		return 0, fmt.Errorf("look for the end of the audit log: %w", err)
	}
	return next, nil
}

// AppendRecord appends a record as a journal row has it: its length as a uvarint, and its bytes.
func AppendRecord(b, record []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(record))), record...)
}

// SplitRecords gives back what AppendRecord has put together.
func SplitRecords(b []byte) ([][]byte, error) {
	var out [][]byte
	for len(b) > 0 {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return nil, errors.New("journal row is cut short")
		}
		out = append(out, b[w:w+int(n)])
		b = b[w+int(n):]
	}
	return out, nil
}
