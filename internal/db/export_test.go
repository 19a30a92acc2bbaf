package db

import (
	"context"
	"database/sql"
	"errors"
)

// LimitPages lets the database have n pages, or as many as are in use, whichever is more. The
// limit belongs to a connection, and any of the writer's may write: all are held and told.
func (d *DB) LimitPages(ctx context.Context, n string) error {
	var conns []*sql.Conn
	var errs error
	for range d.writes.Stats().MaxOpenConnections {
		c, err := d.writes.Conn(ctx)
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		conns = append(conns, c)
		_, err = c.ExecContext(ctx, `PRAGMA max_page_count = `+n)
		errs = errors.Join(errs, err)
	}
	for _, c := range conns {
		errs = errors.Join(errs, c.Close())
	}
	return errs
}

// JudgeStandbys is for states that a test has no standbys for.
var JudgeStandbys = judgeStandbys

// IndexRevision is the revision of the index that all transactions have of a set's first part; 0 where
// there is none.
func (d *DB) IndexRevision(set string) int64 {
	d.guard.mu.Lock()
	defer d.guard.mu.Unlock()
	if ix := d.guard.indexes[indexKey{set, 0}]; ix != nil {
		return ix.number
	}
	return 0
}

// Schema is what the database has, as ProveSchema compares it.
func (t *Tx) Schema() ([]string, error) {
	tables := []string{"goose_db_version"}
	if t.db.engine.name == PostgreSQL {
		tables = append(tables, "goose_lock")
	}
	for _, table := range Tables() {
		tables = append(tables, table.Name)
	}
	return t.schema(tables)
}

// SealSchemaAs seals the schema of this release as one of another format and version.
func (t *Tx) SealSchemaAs(format, version int64) error {
	return t.SetMeta(t.db.metaSchema(), sealedSchema{format, version, t.db.schemaOfRelease()}.String())
}
