package db

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrNotEmpty is in the chain of an error when a database that was to be filled holds something.
var ErrNotEmpty = errors.New("the database is not empty")

// OpenEmpty opens a database that is to be filled by Load: there is none yet, or its tables are
// empty. One that holds anything is refused before anything is done to it; what is there is named.
func OpenEmpty(ctx context.Context, o Options) (*DB, error) {
	o.Create = true
	return open(ctx, o, true, func(d *DB) error { return checkEmpty(ctx, d) })
}

func checkEmpty(ctx context.Context, d *DB) error {
	names, err := liveTables(ctx, d)
	if err != nil {
		return err
	}
	var found []string
	for _, name := range names {
		if bookkeeping(name) {
			continue
		}
		q := `SELECT COUNT(*) FROM "` + strings.ReplaceAll(name, `"`, `""`) + `"`
		if name == "meta" {
			q += ` WHERE key <> 'least_reader'` // which the migrations write
		}
		var n int64
		if err := d.reads.QueryRowContext(ctx, q).Scan(&n); err != nil {
			return d.engine.wrap(fmt.Errorf("look into the table %q: %w", name, err))
		}
		if n > 0 {
			found = append(found, fmt.Sprintf("%s (%d)", name, n))
		}
	}
	if len(found) > 0 {
		return fmt.Errorf("%w: rows in %s", ErrNotEmpty, strings.Join(found, ", "))
	}
	return nil
}

// Load fills an empty database, in one transaction of which nothing stays when fill or prove return
// an error, or when the process dies: fill inserts the rows, and prove sees them through a bound
// transaction. Nothing else may use the database meanwhile.
func (d *DB) Load(ctx context.Context, fill func(*Loader) error, prove func(*Tx) error) error {
	stx, err := d.writes.BeginTx(ctx, nil)
	if err != nil {
		return d.engine.wrap(fmt.Errorf("begin to load: %w", err))
	}
	defer stx.Rollback() // after Commit it does nothing
	tx := d.newTx(ctx, stx, 0)
	tx.writable = true
	l := &Loader{tx: tx}
	err = l.begin(ctx)
	if err == nil {
		err = fill(l)
	}
	if err == nil {
		err = l.flush()
	}
	if err == nil {
		err = d.open(tx, nil)
	}
	if err == nil {
		err = prove(tx)
	}
	if err != nil {
		return d.engine.wrap(err)
	}
	if err := stx.Commit(); err != nil {
		return d.engine.wrap(fmt.Errorf("commit what was loaded: %w", err))
	}
	return nil
}

// Bounds of one statement: SQLite takes 32766 parameters, PostgreSQL 65535; and rows may be long.
const (
	loadRows  = 64
	loadBytes = 1 << 20
)

// A Loader inserts rows, many with one statement.
type Loader struct {
	tx    *Tx
	flags map[string]bool // "table.column" of those that the engine keeps as true and false
	table Stored
	args  []any
	rows  int
	bytes int
}

// begin takes away what the migrations wrote into the empty database: the dump has it as well.
func (l *Loader) begin(ctx context.Context) error {
	l.flags = map[string]bool{}
	if _, err := l.tx.Exec(`DELETE FROM meta`); err != nil {
		return fmt.Errorf("empty the meta table: %w", err)
	}
	if l.tx.db.engine.name != PostgreSQL {
		return nil
	}
	const q = `
		SELECT table_name, column_name FROM information_schema.columns
		WHERE table_schema = current_schema() AND data_type = 'boolean'`
	return l.tx.Query(func(row Scanner) error {
		var table, column string
		err := row.Scan(&table, &column)
		l.flags[table+"."+column] = true
		return err
	}, q)
}

// Insert adds a row as EachRow showed it, from whichever engine. The values are kept until they are
// stored, which may be later: an error may speak of a row before.
func (l *Loader) Insert(table Stored, values []any) error {
	if len(values) != len(table.Columns) {
		return fmt.Errorf("a row of %s has %d values, want %d", table.Name, len(values), len(table.Columns))
	}
	if l.table.Name != table.Name {
		if err := l.flush(); err != nil {
			return err
		}
		l.table = table
	}
	for i, v := range values {
		switch v := v.(type) {
		case string:
			l.bytes += len(v)
		case []byte:
			l.bytes += len(v)
		}
		if n, ok := v.(int64); ok && l.flags[table.Name+"."+table.Columns[i]] {
			if n != 0 && n != 1 {
				return fmt.Errorf("a row of %s: %s is %d, want 0 or 1", table.Name, table.Columns[i], n)
			}
			v = n == 1
		}
		l.args = append(l.args, v)
	}
	l.rows++
	if l.rows == loadRows || l.bytes >= loadBytes {
		return l.flush()
	}
	return nil
}

func (l *Loader) flush() error {
	if l.rows == 0 {
		return nil
	}
	rows := slices.Repeat([]string{""}, l.rows)
	width := len(l.table.Columns)
	for i := range rows {
		places := make([]string, width)
		for j := range places {
			places[j] = "$" + strconv.Itoa(i*width+j+1)
		}
		rows[i] = "(" + strings.Join(places, ", ") + ")"
	}
	q := `INSERT INTO ` + l.table.Name + ` (` + strings.Join(l.table.Columns, ", ") + `) VALUES ` + strings.Join(rows, ", ")
	_, err := l.tx.Exec(q, l.args...)
	l.args, l.rows, l.bytes = l.args[:0], 0, 0
	if err != nil {
		return fmt.Errorf("store rows of %s: %w", l.table.Name, err)
	}
	return nil
}
