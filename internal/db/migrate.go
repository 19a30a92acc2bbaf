package db

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// ReaderLevel is the level of schema that this release can read. A migration that an older
// release could not live with raises meta.least_reader, and then this number. The previous
// release must run on the next schema, so the two never rise in the same release.
const ReaderLevel = 1

//go:embed migrations
var migrations embed.FS

// checkReader refuses a database that a newer release has made unreadable for this one, before
// anything is written to it.
func checkReader(ctx context.Context, d *DB) error {
	exists, err := hasOurs(ctx, d)
	if err != nil || !exists {
		return err
	}
	var text string
	err = d.reads.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = 'least_reader'`).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return d.engine.wrap(fmt.Errorf("read least_reader: %w", err))
	}
	least, err := strconv.Atoi(text)
	if err != nil || least > ReaderLevel {
		return fmt.Errorf("the database needs a release that reads schema level %s, this one reads up to %d: use the newer release", text, ReaderLevel)
	}
	return nil
}

// hasOurs says whether a database is one of ours, and refuses one of another program: a file with tables
// that are not ours, or, where others may live beside us, one that has what our tables are called.
func hasOurs(ctx context.Context, d *DB) (bool, error) {
	names, err := liveTables(ctx, d)
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc([]string{"goose_db_version", "meta", "keyring"}, func(name string) bool { return !slices.Contains(names, name) }) {
		return true, nil
	}
	ours := Tables()
	migrated, err := hasMigrated(ctx, d, names)
	if err != nil {
		return false, err
	}
	theirs := slices.DeleteFunc(names, func(name string) bool {
		return bookkeeping(name) && !migrated ||
			!bookkeeping(name) && d.engine.name == PostgreSQL && !slices.ContainsFunc(ours, func(t Stored) bool { return t.Name == name })
	})
	if len(theirs) > 0 {
		return false, fmt.Errorf("%w: it has tables of another program (%s); set the database to another", ErrNotEmpty, strings.Join(theirs, ", "))
	}
	return false, nil
}

// hasMigrated says whether migrations of somebody have run.
func hasMigrated(ctx context.Context, d *DB, tables []string) (bool, error) {
	if !slices.Contains(tables, "goose_db_version") {
		return false, nil
	}
	var version int64
	if err := d.reads.QueryRowContext(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version`).Scan(&version); err != nil {
		return false, d.engine.wrap(fmt.Errorf("look at the database: %w", err))
	}
	return version > 0, nil
}

// migrate brings the schema to this release's. On PostgreSQL a lock table lets one node do it
// while the others wait. Each migration is a transaction: a crash leaves the one before.
func migrate(ctx context.Context, d *DB) error {
	dir, err := fs.Sub(migrations, "migrations/"+string(d.engine.name))
	if err != nil {
		return err
	}
	dialect, options := goose.DialectSQLite3, []goose.ProviderOption{goose.WithVerbose(false)}
	if d.engine.name == PostgreSQL {
		dialect = goose.DialectPostgres
		locker, err := lock.NewPostgresTableLocker()
		if err != nil {
			return fmt.Errorf("prepare the migration lock: %w", err)
		}
		options = append(options, goose.WithLocker(locker))
	}
	p, err := goose.NewProvider(dialect, d.writes, dir, options...)
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return d.engine.wrap(fmt.Errorf("migrate the database: %w", err))
	}
	return nil
}
