package server

import (
	"context"
	"fmt"
	"io"

	"strongroom/internal/audit"
	"strongroom/internal/db"
	"strongroom/internal/dump"
)

// dump writes everything that is stored as one snapshot shows it. The audit entry of the dump itself
// is durable by then and in it, with a position. On SQLite the write-ahead log grows by what others
// write meanwhile.
func (a *app) dump(ctx context.Context, w io.Writer) error {
	if err := a.scheduler.Number(ctx); err != nil {
		return err
	}
	return a.db.View(ctx, func(tx *db.Tx) error {
		h, err := a.dumpHeader(tx)
		if err != nil {
			return err
		}
		out, err := dump.NewWriter(w, h)
		if err != nil {
			return err
		}
		for _, table := range db.Tables() {
			if err := out.Table(dump.Table(table)); err != nil {
				return err
			}
			if err := tx.EachRow(table, out.Row); err != nil {
				return err
			}
		}
		_, err = out.Close()
		return err
	})
}

func (a *app) dumpHeader(tx *db.Tx) (h dump.Header, err error) {
	h = dump.Header{
		Release: a.version, Deployment: a.deployment.id, Tenant: a.deployment.tenant, Engine: string(a.db.Engine()),
		Time: tx.Now, Authorisation: tx.Revision(db.Authorisation), Directory: tx.Revision(db.Directory),
	}
	if h.Entries, err = audit.Last(tx); err != nil {
		return h, err
	}
	if h.Schema, err = tx.SchemaVersion(); err != nil {
		return h, err
	}
	const q = `SELECT DISTINCT root_key_id FROM keyring ORDER BY root_key_id`
	err = tx.Query(func(row db.Scanner) error {
		var id string
		err := row.Scan(&id)
		h.RootKeys = append(h.RootKeys, id)
		return err
	}, q)
	if err != nil {
		return h, fmt.Errorf("read the keyring: %w", err)
	}
	return h, nil
}
