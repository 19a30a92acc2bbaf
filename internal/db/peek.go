package db

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"modernc.org/sqlite"
)

// Peek opens a database to look at it, also beside whoever serves it, and changes nothing: there is
// View, Settings and Size, and no way in for writes. Settings that Open refuses are told by Settings.
func Peek(ctx context.Context, o Options) (*DB, error) {
	var eng engine
	err := checkFile(ctx, o)
	if err != nil {
		return nil, err
	}
	if o.Engine == SQLite {
		eng, err = peekSQLite(o)
	} else {
		eng, err = openEngine(o)
	}
	if err != nil {
		return nil, err
	}
	d := &DB{engine: eng, reads: eng.reads, writes: eng.writes, closing: make(chan struct{}), stopped: make(chan struct{}), guard: newGuard()}
	err = checkReader(ctx, d)
	if err == nil {
		err = d.findTestClock(ctx)
	}
	if err != nil {
		d.closePools()
		return nil, err
	}
	return d, nil
}

func peekSQLite(o Options) (engine, error) {
	if _, err := os.Stat(o.Path); err != nil {
		return engine{}, fmt.Errorf("open the database: %w", err)
	}
	path, err := realPath(o.Path)
	if err != nil {
		return engine{}, fmt.Errorf("open the database: %w", err)
	}
	nothing := func() error { return nil }
	reads := sqliteDB(path, "busy_timeout(2000)&_pragma=query_only(1)&mode=ro")
	return engine{
		name: SQLite, alone: true, reads: reads, writes: reads, readStatements: newStatements(reads),
		classify: classifySQLite, afterCommit: func() {}, beforeClose: nothing, release: nothing,
	}, nil
}

// Look says whether there is a database of ours, and refuses one of another program. It makes nothing.
func Look(ctx context.Context, o Options) (exists bool, err error) {
	if o.Engine == SQLite {
		if _, err := os.Stat(o.Path); err != nil {
			return false, nil // opening says what is wrong, if it is not just missing
		}
		return lookAtFile(ctx, o)
	}
	eng, err := openEngine(o)
	if err != nil {
		return false, err
	}
	d := &DB{engine: eng, reads: eng.reads, writes: eng.writes}
	defer d.closePools()
	return hasOurs(ctx, d)
}

// checkFile refuses a file of SQLite that is another program's, before it is opened for writing, which
// changes it and leaves a lock beside it.
func checkFile(ctx context.Context, o Options) error {
	if _, err := os.Stat(o.Path); o.Engine != SQLite || err != nil {
		return nil
	}
	_, err := lookAtFile(ctx, o)
	return err
}

func lookAtFile(ctx context.Context, o Options) (exists bool, err error) {
	path, err := realPath(o.Path)
	if err != nil {
		return false, fmt.Errorf("open the database: %w", err)
	}
	mode := "mode=ro"
	if _, err := os.Stat(path + "-wal"); err != nil {
		mode += "&immutable=1" // or the look would make a log
	}
	d := &DB{engine: engine{name: SQLite, classify: classifySQLite}, reads: sqliteDB(path, "query_only(1)&"+mode)}
	defer d.reads.Close()
	exists, err = hasOurs(ctx, d)
	if se, ok := errors.AsType[*sqlite.Error](err); ok && se.Code() == sqliteNotADatabase {
		err = errors.New("the file is no database of SQLite: set database.path to the one that is meant, or put a dump back (strongroom restore --from)")
	} else if !errors.Is(err, ErrNotEmpty) {
		return exists, nil // what else is wrong with it, opening tells
	}
	return false, fmt.Errorf("open the database %q: %w", o.Path, err)
}

// Size is how many bytes the database takes up.
func (d *DB) Size(ctx context.Context) (bytes int64, err error) {
	factors := []string{`SELECT pg_catalog.pg_database_size(current_database())`}
	if d.engine.name == SQLite { // as statements: a table of somebody else may bear the name of a pragma's function
		factors = []string{`PRAGMA page_count`, `PRAGMA page_size`}
	}
	bytes = 1
	for _, q := range factors {
		var n int64
		if err := d.reads.QueryRowContext(ctx, q).Scan(&n); err != nil {
			return 0, d.engine.wrap(fmt.Errorf("ask for the size of the database: %w", err))
		}
		bytes *= n
	}
	return bytes, nil
}

// CheckFile has SQLite look at its own file; PostgreSQL does so whenever it reads a page, if it was
// made with checksums.
func (d *DB) CheckFile(ctx context.Context) error {
	if d.engine.name != SQLite {
		return nil
	}
	var found string
	if err := d.reads.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&found); err != nil {
		return d.engine.wrap(fmt.Errorf("check the database file: %w", err))
	}
	if found != "ok" {
		return fmt.Errorf("the database file is damaged: %s", found)
	}
	return nil
}

// A Setting is one of the database's own that the durability of answers rests on.
type Setting struct {
	Name, Value string
	Fault       string // what follows from the value; "" where all is well
	Mend        string // the line that mends it, or what would be better though nothing is wrong
}

// Settings asks for all of them.
func (d *DB) Settings(ctx context.Context) ([]Setting, error) {
	if d.engine.name == PostgreSQL {
		return d.postgreSQLSettings(ctx)
	}
	var mode string
	if err := d.reads.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&mode); err != nil {
		return nil, d.engine.wrap(fmt.Errorf("ask for the journal mode: %w", err))
	}
	s := Setting{Name: "journal_mode", Value: mode}
	if mode != "wal" {
		s.Fault = "somebody has turned the write-ahead log off: readers and the writer stop each other"
		s.Mend = `start the server: it turns the log on (or: sqlite3 FILE "PRAGMA journal_mode = wal")`
	}
	return []Setting{s}, nil
}

// durable are the settings of PostgreSQL that must not be off, and what happens if they are.
var durable = []struct{ name, fault string }{
	{"fsync", "a crash of the machine can lose answered writes and destroy the database"},
	{"synchronous_commit", "a crash can lose answered writes"},
	{"full_page_writes", "a crash of the machine can destroy pages of the database"},
}

func (d *DB) postgreSQLSettings(ctx context.Context) (out []Setting, err error) {
	for _, s := range durable {
		value, err := d.setting(ctx, s.name)
		if err != nil {
			return nil, err
		}
		found := Setting{Name: s.name, Value: value}
		if value == "off" {
			found.Fault, found.Mend = s.fault, "ALTER SYSTEM SET "+s.name+" = on; SELECT pg_reload_conf();"
		}
		out = append(out, found)
	}
	standby, err := d.standbys(ctx)
	return append(out, standby), err
}

func (d *DB) setting(ctx context.Context, name string) (value string, err error) {
	err = d.reads.QueryRowContext(ctx, `SELECT pg_catalog.current_setting($1)`, name).Scan(&value)
	if err != nil {
		return "", d.engine.wrap(fmt.Errorf("ask for the setting %s: %w", name, err))
	}
	return value, nil
}

// standbys looks for a standby that has each commit before it is answered. Whether one that streams is
// such is shown to members of pg_monitor only.
func (d *DB) standbys(ctx context.Context) (Setting, error) {
	names, err := d.setting(ctx, "synchronous_standby_names")
	if err != nil {
		return Setting{}, err
	}
	commit, err := d.setting(ctx, "synchronous_commit")
	if err != nil {
		return Setting{}, err
	}
	var states []string
	rows, err := d.reads.QueryContext(ctx, `SELECT COALESCE(sync_state, 'hidden') FROM pg_catalog.pg_stat_replication`)
	if err != nil {
		return Setting{}, d.engine.wrap(fmt.Errorf("ask for the standbys: %w", err))
	}
	defer rows.Close()
	for rows.Next() {
		var state string
		if err := rows.Scan(&state); err != nil {
			return Setting{}, err
		}
		states = append(states, state)
	}
	return judgeStandbys(names, commit, states), rows.Err()
}

// judgeStandbys says what the states of the standbys mean for an answered write.
func judgeStandbys(names, commit string, states []string) Setting {
	s := Setting{Name: "synchronous_standby_names", Value: fmt.Sprintf("%q", names)}
	const name = "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'; SELECT pg_reload_conf();"
	synchronous := slices.ContainsFunc(states, func(state string) bool { return state == "sync" || state == "quorum" })
	switch {
	case slices.Contains(states, "hidden"):
		s.Value += ", standbys not shown to this user"
		s.Mend = "GRANT pg_monitor TO the server's user, to have the standbys looked at"
	case names != "" && !synchronous:
		s.Fault = "no synchronous standby is connected: commits wait for one"
		s.Mend = "start the standby, or take it out of synchronous_standby_names"
	case len(states) > 0 && !synchronous:
		s.Fault = fmt.Sprintf("no synchronous standby: a failover can lose answered writes (standbys: %s)", strings.Join(states, ", "))
		s.Mend = name
	case synchronous && commit == "local":
		s.Fault = "synchronous_commit is local: commits do not wait for the standby, and a failover can lose answered writes"
		s.Mend = "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf(); servers follow within two minutes"
	case len(states) == 0:
		s.Value += ", no standby: the disk of the database holds the only copy"
		s.Mend = "a standby, and " + name
	}
	return s
}
