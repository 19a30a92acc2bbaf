package db_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
)

// TestTables holds the list of what a dump has against the schema as the migrations make it: a new
// table, or a new column, is in every dump or this fails.
func TestTables(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		q := `
			SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
			WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid`
		if d.Engine() == db.PostgreSQL {
			q = `
				SELECT table_name, column_name FROM information_schema.columns
				WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position`
		}
		live := map[string][]string{}
		view(t, d, func(tx *db.Tx) error {
			return tx.Query(func(row db.Scanner) error {
				var table, column string
				err := row.Scan(&table, &column)
				live[table] = append(live[table], column)
				return err
			}, q)
		})
		for _, table := range db.Tables() {
			columns := slices.Sorted(slices.Values(table.Columns))
			if want := slices.Sorted(slices.Values(live[table.Name])); !slices.Equal(columns, want) {
				t.Errorf("table %s: dumped are the columns %v, the schema has %v", table.Name, columns, want)
			}
			delete(live, table.Name)
		}
		for table := range live {
			if !strings.HasPrefix(table, "goose_") { // the migrations' own
				t.Errorf("table %s is in no dump: declare it in internal/db", table)
			}
		}
	})
}

// The first two tables are those that open the keyring: a restore reads them before it writes anything.
func TestTablesBeginWithKeys(t *testing.T) {
	if got := []string{db.Tables()[0].Name, db.Tables()[1].Name}; !slices.Equal(got, []string{"meta", "keyring"}) {
		t.Errorf("the first tables are %v, want meta and keyring", got)
	}
}

func TestSchemaVersion(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		view(t, d, func(tx *db.Tx) error {
			n, err := tx.SchemaVersion()
			if err == nil && (n != db.SchemaVersion() || n < 1) {
				t.Errorf("the database has schema %d, this release %d", n, db.SchemaVersion())
			}
			return err
		})
	})
}

// example is a row of every table with every kind of value that its columns take: numbers at their
// ends, no text, text of more than ASCII, no bytes, all bytes, null.
func example(table db.Stored, n int, flags map[string]bool) (row []any) {
	for i, column := range table.Columns {
		kind := kinds[column]
		switch {
		case flags[column]:
			row = append(row, int64(n%2))
		case strings.HasSuffix(column, "_us") || kind == "number":
			row = append(row, []int64{0, 1, -1 << 63, 1<<63 - 1}[n%4]+int64(n%4/2)*int64(1-2*(n%4%2)))
		case strings.HasSuffix(column, "_sealed") || strings.HasSuffix(column, "_mac") || kind == "bytes":
			row = append(row, [][]byte{{}, {0}, {0xff, 0}, bytes.Repeat([]byte{7}, 3000)}[n%4])
		default:
			row = append(row, fmt.Sprintf("%d-%d Zürich ' \" \\", n, i))
		}
	}
	return row
}

// kinds are those of columns whose names do not tell.
var kinds = map[string]string{
	"ordinal": "number", "revision": "number", "members": "number", "fence": "number", "entries": "number", "position": "number",
	"first_position": "number", "last_position": "number", "retention_days": "number", "part": "number", "newest": "number", "generation": "number",
	"records": "bytes", "digest": "bytes", "secret_hmac": "bytes", "certificate": "bytes",
}

var flags = map[string]bool{"rbac": true, "purge_protection": true, "enabled": true}

// nullable are columns that every engine lets be null.
var nullable = []string{"deleted_us", "purge_us", "content_type", "position_mac", "secret_hmac", "resource_id"}

const examples = 150 // more than one statement takes

func fill(l *db.Loader) error {
	for _, table := range db.Tables() {
		if table.Name == "revisions" {
			continue // sealed ones only, or the database does not open
		}
		for n := range examples {
			row := example(table, n, flags)
			for i, column := range table.Columns {
				switch {
				case column == "ordinal" || strings.HasSuffix(column, "position"):
					row[i] = int64(n)
				case n%3 == 0 && slices.Contains(nullable, column):
					row[i] = nil
				}
			}
			if err := l.Insert(table, row); err != nil {
				return err
			}
		}
	}
	return nil
}

// content is every row as it would stand in a dump, sorted.
func content(t *testing.T, tx *db.Tx) (rows []string) {
	t.Helper()
	for _, table := range db.Tables() {
		err := tx.EachRow(table, func(values []any) error {
			for i, v := range values {
				switch v := v.(type) {
				case bool:
					values[i] = map[bool]int64{true: 1}[v]
				case []byte:
					values[i] = append([]byte{}, v...) // none, not nil
				}
			}
			rows = append(rows, fmt.Sprintf("%s %#v", table.Name, values))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := tx.Rows(table); err != nil || table.Name != "revisions" && n != examples {
			t.Fatalf("%s has %d rows, %v, want %d", table.Name, n, err, examples)
		}
	}
	slices.SortFunc(rows, cmp.Compare)
	return rows
}

// What is loaded into either engine reads the same from both.
func TestLoad(t *testing.T) {
	var first []string
	for _, o := range []db.Options{dbtest.SQLiteOptions(t), dbtest.PostgreSQLOptions(t)} {
		d, err := db.OpenEmpty(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		d.Bind(dbtest.Tenant, dbtest.Ring(t))
		var inside []string
		if err := d.Load(t.Context(), fill, func(tx *db.Tx) error { inside = content(t, tx); return nil }); err != nil {
			t.Fatalf("%s: %v", o.Engine, err)
		}
		var after []string
		view(t, d, func(tx *db.Tx) error { after = content(t, tx); return nil })
		if !slices.Equal(inside, after) {
			t.Errorf("%s: after the commit there is something else than before", o.Engine)
		}
		if first == nil {
			first = after
		}
		for i := range after {
			if after[i] != first[i] {
				t.Fatalf("%s shows %.300s\nwant %.300s", o.Engine, after[i], first[i])
			}
		}
	}
}

// A load that fails anywhere leaves an empty database, which can be loaded again.
func TestLoadLeavesNothing(t *testing.T) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		d, err := db.OpenEmpty(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { d.Close() }()
		d.Bind(dbtest.Tenant, dbtest.Ring(t))
		failure := errors.New("no")
		fails := func(*db.Tx) error { return failure }
		gone, cancel := context.WithCancel(t.Context())
		for _, tt := range []struct {
			name  string
			ctx   context.Context
			fill  func(*db.Loader) error
			prove func(*db.Tx) error
			want  string
		}{
			{"proof", t.Context(), fill, fails, "no"},
			{"fill", t.Context(), func(l *db.Loader) error { return errors.Join(fill(l), failure) }, fails, "no"},
			{"a row twice", t.Context(), func(l *db.Loader) error { return errors.Join(fill(l), fill(l)) }, fails, "store rows of"},
			{"no flag", t.Context(), func(l *db.Loader) error {
				table := db.Tables()[slices.IndexFunc(db.Tables(), func(s db.Stored) bool { return s.Name == "vaults" })]
				row := example(table, 1, flags)
				row[slices.Index(table.Columns, "rbac")] = map[db.Engine]any{db.SQLite: "yes", db.PostgreSQL: int64(2)}[o.Engine]
				return l.Insert(table, row)
			}, fails, map[db.Engine]string{db.SQLite: "store rows of vaults", db.PostgreSQL: "rbac is 2, want 0 or 1"}[o.Engine]},
			{"a short row", t.Context(), func(l *db.Loader) error { return l.Insert(db.Tables()[0], []any{"a"}) }, fails, "has 1 values, want 3"},
			{"no room", t.Context(), fill, fails, map[db.Engine]string{db.SQLite: "full", db.PostgreSQL: "no"}[o.Engine]},
			{"given up", gone, fill, func(*db.Tx) error { cancel(); return gone.Err() }, "canceled"},
		} {
			if o.Engine == db.SQLite {
				pages := "1000000"
				if tt.name == "no room" {
					pages = "500"
				}
				if err := d.LimitPages(t.Context(), pages); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.Load(tt.ctx, tt.fill, tt.prove); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
			}
		}
		closeDB(t, d)
		if d, err = db.OpenEmpty(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		d.Bind(dbtest.Tenant, dbtest.Ring(t))
		if err := d.Load(t.Context(), fill, func(*db.Tx) error { return nil }); err != nil {
			t.Errorf("the next load: %v", err)
		}
	})
}

// What is not empty is named, and left as it is.
func TestOpenEmptyRefuses(t *testing.T) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		closeDB(t, dbtest.Open(t, o))
		exec(t, raw(t, o), `INSERT INTO leases (name, holder, fence, expires_us) VALUES ('a', 'b', 1, 2), ('c', 'd', 1, 2)`)
		exec(t, raw(t, o), `CREATE TABLE "Some ""thing""" (a TEXT)`)
		exec(t, raw(t, o), `INSERT INTO "Some ""thing""" VALUES ('x')`)
		d, err := db.OpenEmpty(t.Context(), o)
		if err == nil {
			closeDB(t, d)
		}
		if !errors.Is(err, db.ErrNotEmpty) || !strings.Contains(err.Error(), "leases (2)") || !strings.Contains(err.Error(), `Some "thing" (1)`) {
			t.Errorf("got %v, want ErrNotEmpty that names leases (2) and Some \"thing\" (1)", err)
		}
	})
}

// Somebody else's SQLite file is refused before the migrations touch it.
func TestOpenEmptyLeavesOthersAlone(t *testing.T) {
	o := db.Options{Engine: db.SQLite, Path: filepath.Join(t.TempDir(), "others.db")}
	other := raw(t, o)
	exec(t, other, `CREATE TABLE notes (a TEXT)`)
	exec(t, other, `INSERT INTO notes VALUES ('x')`)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.OpenEmpty(t.Context(), o); !errors.Is(err, db.ErrNotEmpty) {
		t.Errorf("got %v, want ErrNotEmpty", err)
	}
	b, err := os.ReadFile(o.Path)
	if err != nil || !bytes.Contains(b, []byte("notes")) || bytes.Contains(b, []byte("secret_versions")) {
		t.Errorf("the file was changed, or is gone: %v", err)
	}
}
