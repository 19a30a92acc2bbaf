package audit

import (
	"fmt"

	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

// Prove compares the places of all numbered entries with the digest of the log: that none is
// missing, moved or put in. What the entries say is proven by who reads them.
func Prove(tx *db.Tx) error {
	var macs [][]byte
	next := int64(-1)
	const q = `SELECT position, entries, row_mac, position_mac FROM journal WHERE position IS NOT NULL ORDER BY position`
	err := tx.Query(func(s db.Scanner) error {
		var r row
		if err := s.Scan(&r.position, &r.entries, &r.mac, &r.positionMAC); err != nil {
			return err
		}
		if next >= 0 && r.position != next {
			return fmt.Errorf("position %d follows %d: %w", r.position, next-1, envelope.ErrTampered)
		}
		next = r.position + r.entries
		macs = append(macs, r.positionMAC)
		return tx.Ring().CheckRow(r.positionMAC, positionTable, r.position, r.mac)
	}, q)
	if err != nil {
		return fmt.Errorf("prove the audit log: %w", err)
	}
	return tx.ProveSum(numberingScope, macs)
}
