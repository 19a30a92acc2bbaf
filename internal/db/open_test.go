package db_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
)

// schema prints what a database is made of.
func schema(t testing.TB, o db.Options) string {
	t.Helper()
	q := `SELECT name || ': ' || COALESCE(sql, '') FROM sqlite_master ORDER BY name`
	if o.Engine == db.PostgreSQL {
		q = `SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable
			FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position`
	}
	rows, err := raw(t, o).QueryContext(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out strings.Builder
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		out.WriteString(line + "\n")
	}
	return out.String()
}

func closeDB(t testing.TB, d *db.DB) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestMigratingAgainChangesNothing(t *testing.T) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		d := dbtest.Open(t, o)
		update(t, d, func(tx *db.Tx) error { return tx.SetMeta("k", "stored") })
		closeDB(t, d)
		before := schema(t, o)
		d = dbtest.Open(t, o)
		if got := meta(t, d, "k"); got != "stored" {
			t.Errorf("value = %q, want it kept", got)
		}
		if got := count(t, d, `SELECT COUNT(*) FROM goose_db_version`); got != 3 { // goose's own first row and our two
			t.Errorf("rows of migrations = %d, want 3", got)
		}
		closeDB(t, d)
		if after := schema(t, o); after != before || !strings.Contains(before, "secret_versions") {
			t.Errorf("schema changed from\n%s\nto\n%s", before, after)
		}
	})
}

// Nodes that start at once migrate once.
func TestNodesMigrateTogether(t *testing.T) {
	o := dbtest.PostgreSQLOptions(t)
	done := make(chan error)
	for range 3 {
		go func() {
			d, err := db.Open(t.Context(), o)
			if err == nil {
				err = d.Close()
			}
			done <- err
		}()
	}
	for range 3 {
		if err := <-done; err != nil {
			t.Errorf("Open: got %v, want nil", err)
		}
	}
}

func TestNewerDatabaseIsRefusedUntouched(t *testing.T) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		closeDB(t, dbtest.Open(t, o))
		for _, level := range []string{fmt.Sprint(db.ReaderLevel + 1), "unreadable"} {
			r := raw(t, o)
			exec(t, r, `UPDATE meta SET value = $1 WHERE key = 'least_reader'`, level)
			exec(t, r, `DELETE FROM goose_db_version WHERE version_id > 0`) // a migration would show
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			before := contents(t, o)
			d, err := db.Open(t.Context(), o)
			if err == nil {
				d.Close()
			}
			if err == nil || !strings.Contains(err.Error(), level) || !strings.Contains(err.Error(), "newer release") {
				t.Errorf("Open at level %s: got %v, want a refusal that names it", level, err)
			}
			if after := contents(t, o); after != before {
				t.Errorf("Open at level %s changed the database", level)
			}
		}
	})
}

// contents is the file on SQLite, and the tables that opening could change on PostgreSQL.
func contents(t testing.TB, o db.Options) string {
	t.Helper()
	if o.Engine == db.SQLite {
		b, err := os.ReadFile(o.Path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var n int
	var levels string
	err := raw(t, o).QueryRowContext(t.Context(),
		`SELECT (SELECT COUNT(*) FROM goose_db_version), (SELECT STRING_AGG(key || value, ',') FROM meta)`).Scan(&n, &levels)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(schema(t, o), n, levels)
}

func TestEmptyDatabaseIsRefusedWithoutCreate(t *testing.T) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		o.Create = false
		if d, err := db.Open(t.Context(), o); err == nil {
			d.Close()
			t.Error("Open of an empty database: got nil, want an error")
		}
		if o.Engine == db.SQLite {
			if _, err := os.Stat(o.Path); err == nil {
				t.Error("Open made a file")
			}
		}
	})
}

func TestSecondProcessIsRefused(t *testing.T) {
	o := dbtest.SQLiteOptions(t)
	d := dbtest.Open(t, o)
	_, err := db.Open(t.Context(), o)
	if !errors.Is(err, db.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("process %d on ", os.Getpid())) {
		t.Errorf("second Open: got %v, want ErrInUse that names process %d", err, os.Getpid())
	}
	update(t, d, func(tx *db.Tx) error { return tx.SetMeta("k", "v") }) // the first is unharmed
	closeDB(t, d)
	dbtest.Open(t, o)
}

func TestDatabaseFileIsPrivate(t *testing.T) {
	o := dbtest.SQLiteOptions(t)
	d := dbtest.Open(t, o)
	update(t, d, func(tx *db.Tx) error { return tx.SetMeta("k", "v") })
	files, err := filepath.Glob(o.Path + "*")
	if err != nil || len(files) < 3 { // database, log, lock
		t.Fatalf("files = %q, %v", files, err)
	}
	for _, f := range files {
		if st, err := os.Stat(f); err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("mode of %s = %v, %v, want nothing for others", filepath.Base(f), st.Mode(), err)
		}
	}
}

func TestSQLiteIsDurable(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLiteOptions(t))
	update(t, d, func(tx *db.Tx) error {
		for pragma, want := range map[string]string{
			"synchronous": "2", "journal_mode": "wal", "secure_delete": "1", "foreign_keys": "1", "wal_autocheckpoint": "0",
		} {
			var got string
			if err := tx.QueryRow(`PRAGMA ` + pragma).Scan(&got); err != nil || got != want {
				t.Errorf("PRAGMA %s = %q, %v, want %q", pragma, got, err, want)
			}
		}
		return nil
	})
}

func TestPostgreSQLMustBeDurable(t *testing.T) {
	o := dbtest.PostgreSQLOptions(t)
	d := dbtest.Open(t, o)
	on := func(tx *db.Tx) error {
		for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
			var got string
			if err := tx.QueryRow(`SELECT current_setting($1)`, setting).Scan(&got); err != nil || got != "on" {
				t.Errorf("%s = %q, %v, want on", setting, got, err)
			}
		}
		return nil
	}
	update(t, d, on)
	var name string
	r := raw(t, o)
	if err := r.QueryRow(`SELECT current_database()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	exec(t, r, `ALTER DATABASE `+name+` SET synchronous_commit = off`)
	update(t, d, on)
	exec(t, r, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()`, name)
	if err := d.Update(t.Context(), nil, func(tx *db.Tx) error { tx.Record([]byte("x")); return nil }); !errors.Is(err, db.ErrUnavailable) {
		t.Errorf("a write by new connections, with synchronous_commit off: got %v, want a refusal", err)
	}
	closeDB(t, d)
	d, err := db.Open(t.Context(), o)
	if err == nil {
		d.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "synchronous_commit is off") {
		t.Errorf("Open with synchronous_commit off: got %v, want a refusal that names it", err)
	}
}

func TestBadOptions(t *testing.T) {
	for _, tt := range []struct {
		o   db.Options
		err string
	}{
		{db.Options{Engine: "mysql"}, "mysql"},
		{db.Options{Engine: db.PostgreSQL, URL: "postgres://u:hunter2@host:x/db"}, "want postgres://"},
		{db.Options{Engine: db.SQLite, Path: filepath.Join(t.TempDir(), "none", "x.db"), Create: true}, "none"},
	} {
		d, err := db.Open(t.Context(), tt.o)
		if err == nil {
			d.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Open(%q) = %v, want an error with %q and no password", tt.o.Engine, err, tt.err)
		}
	}
}

// The clock can be set only where the database was made for that: an offset that somebody wrote
// later into a database in use moves nothing.
func TestTestClock(t *testing.T) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		const ahead = 1000 * time.Hour
		d := dbtest.Open(t, o)
		update(t, d, func(tx *db.Tx) error {
			if err := tx.SetMeta("test_clock", "1"); err != nil {
				return err
			}
			return tx.SetMeta("clock_offset_us", fmt.Sprint(ahead.Microseconds()))
		})
		if got := offset(t, d); got > time.Minute {
			t.Errorf("offset of a database opened without a test clock = %s, want none", got)
		}
		closeDB(t, d)
		d = dbtest.Open(t, o)
		if got := offset(t, d); (got - ahead).Abs() > time.Minute {
			t.Errorf("offset = %s, want %s", got, ahead)
		}
		update(t, d, func(tx *db.Tx) error { return tx.SetMeta("clock_offset_us", "-3600000000") })
		if got := offset(t, d); (got + time.Hour).Abs() > time.Minute {
			t.Errorf("offset = %s, want an hour back", got)
		}
		closeDB(t, d)
		exec(t, raw(t, o), `DELETE FROM meta WHERE key = 'test_clock'`)
		if got := offset(t, dbtest.Open(t, o)); got.Abs() > time.Minute {
			t.Errorf("offset without a test clock = %s, want none", got)
		}
	})
}

// offset is how far the database's clock is ahead of the host's, in reads and writes alike.
func offset(t testing.TB, d *db.DB) (out time.Duration) {
	t.Helper()
	look := func(tx *db.Tx) error {
		if tx.Now.Location() != time.UTC || tx.Now.Nanosecond()%1000 != 0 || tx.Now.UnixMicro() != tx.Micros() {
			t.Errorf("time %v, %d: want whole microseconds, UTC", tx.Now, tx.Micros())
		}
		out = time.Until(tx.Now)
		return nil
	}
	update(t, d, look)
	written := out
	view(t, d, look)
	if (out - written).Abs() > time.Minute {
		t.Errorf("writes are %s ahead, reads %s", written, out)
	}
	return out
}

func TestIDs(t *testing.T) {
	id := regexp.MustCompile(`^[0-9a-f]{32}$`)
	guid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for range 1000 {
		a, b := db.NewID(), db.NewGUID()
		if !id.MatchString(a) || !guid.MatchString(b) || seen[a] || seen[b] {
			t.Fatalf("got %q and %q, want new ones of the forms %s and %s", a, b, id, guid)
		}
		seen[a], seen[b] = true, true
	}
}

// A value that is deleted must not linger in the file: secure_delete overwrites it.
func TestDeletedBytesAreGone(t *testing.T) {
	o := dbtest.SQLiteOptions(t)
	d := dbtest.Open(t, o)
	needle := "needle-" + db.NewID()
	update(t, d, func(tx *db.Tx) error { return tx.SetMeta("needle", needle) })
	closeDB(t, d)
	if b, err := os.ReadFile(o.Path); err != nil || !bytes.Contains(b, []byte(needle)) {
		t.Fatalf("the control is not in the file: %v", err)
	}
	d = dbtest.Open(t, o)
	update(t, d, func(tx *db.Tx) error {
		_, err := tx.Exec(`DELETE FROM meta WHERE key = 'needle'`)
		return err
	})
	closeDB(t, d)
	if b, err := os.ReadFile(o.Path); err != nil || bytes.Contains(b, []byte(needle)) {
		t.Errorf("the deleted value is still in the file: %v", err)
	}
}

func TestViewSeesOneSnapshot(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		set := func(v string) {
			t.Helper()
			err := d.Update(context.WithoutCancel(t.Context()), []string{db.Directory}, func(tx *db.Tx) error {
				if err := tx.Raise(db.Directory); err != nil {
					return err
				}
				return tx.SetMeta("k", v)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		set("old")
		view(t, d, func(tx *db.Tx) error {
			revision := tx.Revision(db.Directory)
			set("new") // commits while the view is open
			if got, err := tx.Meta("k"); err != nil || got != "old" {
				t.Errorf("in the snapshot: %q, %v, want old", got, err)
			}
			var now int64
			err := tx.QueryRow(`SELECT revision FROM revisions WHERE scope = 'directory'`).Scan(&now)
			if err != nil || now != revision {
				t.Errorf("revision = %d, %v, want %d as at the beginning", now, err, revision)
			}
			return nil
		})
		if got := meta(t, d, "k"); got != "new" {
			t.Errorf("afterwards: %q, want new", got)
		}
	})
}

func TestReadsCannotWrite(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, q := range []string{
			`INSERT INTO meta (key, value) VALUES ('k', 'v')`,
			`DELETE FROM meta`,
			`UPDATE revisions SET revision = 100`,
			`CREATE TABLE k (v TEXT)`,
		} {
			err := d.View(t.Context(), func(tx *db.Tx) error {
				if !tx.ReadOnly() {
					t.Error("a view does not say that it is read-only")
				}
				_, err := tx.Exec(q)
				return err
			})
			if err == nil {
				t.Errorf("%s in a view: got nil, want an error", q)
			}
		}
		if got := count(t, d, `SELECT COUNT(*) FROM meta WHERE key = 'least_reader'`); got != 1 {
			t.Errorf("rows = %d, want 1", got)
		}
		update(t, d, func(tx *db.Tx) error {
			if tx.ReadOnly() {
				t.Error("an update says that it is read-only")
			}
			return tx.SetMeta("k", "v") // the pool for writes is unharmed
		})
	})
}

// A database of another program is left as it is.
func TestForeignDatabase(t *testing.T) {
	open := map[string]func(db.Options) (*db.DB, error){
		"to make one": func(o db.Options) (*db.DB, error) { o.Create = true; return db.Open(t.Context(), o) },
		"to serve": func(o db.Options) (*db.DB, error) {
			return db.OpenExisting(t.Context(), o, func(*db.DB) error { return nil })
		},
		"to fill": func(o db.Options) (*db.DB, error) { return db.OpenEmpty(t.Context(), o) },
		"to look": func(o db.Options) (*db.DB, error) { return db.Peek(t.Context(), o) },
	}
	for name, open := range open {
		t.Run(name, func(t *testing.T) {
			dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
				theirs := raw(t, o)
				if o.Engine == db.SQLite {
					exec(t, theirs, `PRAGMA journal_mode = wal`) // whose log goes with its last connection
				}
				exec(t, theirs, `CREATE TABLE meta (name TEXT, secret TEXT)`)
				exec(t, theirs, `INSERT INTO meta VALUES ('theirs', 'kept')`)
				theirs.Close()
				before := state(t, o)
				d, err := open(o)
				if err == nil {
					d.Close()
				}
				if !errors.Is(err, db.ErrNotEmpty) || !strings.Contains(err.Error(), "meta") {
					t.Errorf("got %v, want a refusal that names the table", err)
				}
				if got := state(t, o); got != before {
					t.Errorf("there was %s, and there is %s", before, got)
				}
			})
		})
	}
	t.Run("another's migrations", func(t *testing.T) {
		dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
			exec(t, raw(t, o), `CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY, version_id BIGINT, is_applied BOOLEAN, tstamp TIMESTAMP)`)
			exec(t, raw(t, o), `INSERT INTO goose_db_version VALUES (1, 0, true, NULL), (2, 1, true, NULL)`)
			o.Create = true
			if d, err := db.Open(t.Context(), o); !errors.Is(err, db.ErrNotEmpty) || !strings.Contains(err.Error(), "goose_db_version") {
				if err == nil {
					d.Close()
				}
				t.Errorf("got %v, want a refusal that names the table", err)
			}
		})
	})
	t.Run("with which ours live together", func(t *testing.T) {
		o := dbtest.PostgreSQLOptions(t)
		exec(t, raw(t, o), `CREATE TABLE theirs (id TEXT)`)
		dbtest.Open(t, o)
	})
}

// state lists the files of a database with their digests, or its tables.
func state(t *testing.T, o db.Options) string {
	t.Helper()
	if o.Engine != db.SQLite {
		return schema(t, o)
	}
	entries, err := os.ReadDir(filepath.Dir(o.Path))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(o.Path), e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %x", e.Name(), sha256.Sum256(b)))
	}
	return strings.Join(out, ", ")
}
