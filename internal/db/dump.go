package db

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Stored is a table with all its columns, as it is stored.
type Stored struct {
	Name    string
	Columns []string
}

// openTables are the tables beside the sealed ones: those of the deployment itself, the journal and
// the outbox of events. The first two say by which keys the others are proven, and come first.
var openTables = []Stored{
	{"meta", strings.Fields("key value row_mac")},
	{"keyring", strings.Fields("ordinal tenant_id key_id purpose root_key_id key_sealed created_us")},
	{"revisions", strings.Fields("scope revision members digest_sealed")},
	{"leases", strings.Fields("name holder fence expires_us")},
	{"journal", strings.Fields("commit_id tenant_id committed_us entries records row_mac position position_mac")},
	{"events", strings.Fields("event_id tenant_id vault_id type subject data created_us")},
}

// Tables are all tables of the schema that hold data: what a dump holds, in its order. A test
// compares them with the schema of both engines.
func Tables() []Stored {
	out := append([]Stored{}, openTables...)
	for _, t := range append([]*Table{SecretVersions}, sealedTables...) {
		out = append(out, Stored{t.name, append(append([]string{}, t.columns...), "row_mac")})
	}
	return out
}

// bookkeeping are the tables by which the migrations know how far they are.
func bookkeeping(table string) bool { return table == "goose_db_version" || table == "goose_lock" }

// SchemaVersion is the number of the last migration of this release.
func SchemaVersion() int64 {
	names, _ := fs.Glob(migrations, "migrations/"+string(SQLite)+"/*.sql") // the pattern is a good one
	var last int64
	for _, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		if n, err := strconv.ParseInt(number, 10, 64); err == nil {
			last = max(last, n)
		}
	}
	return last
}

// SchemaVersion is the number of the last migration that the database has seen.
func (t *Tx) SchemaVersion() (n int64, err error) {
	if err = t.QueryRow(`SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&n); err != nil {
		return 0, fmt.Errorf("read the version of the schema: %w", err)
	}
	return n, nil
}

// EachRow calls fn for every row of a table, in no certain order: values are nil, int64, bool,
// string or []byte, one for each column, and the slice is good until fn returns. fn must not use
// the transaction.
func (t *Tx) EachRow(table Stored, fn func(values []any) error) error {
	values, to := make([]any, len(table.Columns)), make([]any, len(table.Columns))
	for i := range values {
		to[i] = &values[i]
	}
	q := `SELECT ` + strings.Join(table.Columns, ", ") + ` FROM ` + table.Name // both are constants of ours
	err := t.Query(func(row Scanner) error {
		if err := row.Scan(to...); err != nil {
			return err
		}
		return fn(values)
	}, q)
	if err != nil {
		return fmt.Errorf("read the rows of %s: %w", table.Name, err)
	}
	return nil
}

// Rows is the number of rows of a table.
func (t *Tx) Rows(table Stored) (n int64, err error) {
	if err = t.QueryRow(`SELECT COUNT(*) FROM ` + table.Name).Scan(&n); err != nil {
		return 0, fmt.Errorf("count the rows of %s: %w", table.Name, err)
	}
	return n, nil
}

// liveTables lists the tables that the database has, whoever made them.
func liveTables(ctx context.Context, d *DB) (names []string, err error) {
	q := `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name`
	if d.engine.name == PostgreSQL {
		q = `SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema() ORDER BY tablename`
	}
	rows, err := d.reads.QueryContext(ctx, q)
	if err != nil {
		return nil, d.engine.wrap(fmt.Errorf("look at the database: %w", err))
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("look at the database: %w", err)
		}
		names = append(names, name)
	}
	return names, d.engine.wrap(rows.Err())
}
