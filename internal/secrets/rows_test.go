package secrets

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

// columnsOf names all columns of a table.
func (f *fixture) columnsOf(table string) (out []string) {
	f.t.Helper()
	q := `SELECT name FROM pragma_table_info($1)`
	if f.d.Engine() == db.PostgreSQL {
		q = `SELECT column_name FROM information_schema.columns WHERE table_name = $1`
	}
	f.view(func(tx *db.Tx) error {
		return tx.Query(func(row db.Scanner) error {
			var name string
			err := row.Scan(&name)
			out = append(out, name)
			return err
		}, q, table)
	})
	return out
}

// edited is another legal content for each column, so that an edit passes the schema.
var edited = map[string]string{
	"tenant_id": `'x'`, "vault_id": `'x'`, "name_key": `'x'`, "name": `'x'`, "newest": `newest + 1`, "part": `1 - part`, "newest_mac": `row_mac`, "versions_sealed": `row_mac`, "generation": `generation + 1`,
	"created_us": `created_us + 1`, "updated_us": `updated_us + 1`, "deleted_us": `COALESCE(deleted_us + 1, 1)`,
	"purge_us": `COALESCE(purge_us + 1, 1)`, "version": `'0123456789abcdef0123456789abcdef'`, "ordinal": `ordinal + 1`,
	"enabled": `NOT enabled`, "not_before_us": `COALESCE(not_before_us + 1000000, 0)`, "expires_us": `NULL`,
	"content_type": `''`, "tags": `'{}'`, "value_sealed": `row_mac`, "row_mac": `value_sealed`,
}

// A writer to the database who is not us: whatever column is edited, the row is not served. Rows
// that were moved are looked for where they are now.
func TestEditedColumnsAreNoticed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		d := draft("x")
		d.Expires = new(int64(5))
		v, err := f.trySet(f.vault, "a", d)
		if err != nil {
			t.Fatal(err)
		}
		moved := f.vault
		moved.ID = "x"
		for _, table := range []string{"secrets", "secret_versions"} {
			for _, column := range f.columnsOf(table) {
				content, ok := edited[column]
				if !ok {
					t.Errorf("column %s.%s: want an edit for it in this test", table, column)
					continue
				}
				if table == "secrets" && column == "row_mac" {
					content = `(SELECT row_mac FROM secret_versions)`
				}
				edits := []string{`UPDATE ` + table + ` SET ` + column + ` = ` + content}
				vault, name, version := f.vault, "a", ""
				switch column {
				case "vault_id": // both rows move, so that they still meet
					edits, vault = []string{`UPDATE secrets SET vault_id = 'x'`, `UPDATE secret_versions SET vault_id = 'x'`}, moved
				case "name_key":
					edits, name = []string{`UPDATE secrets SET name_key = 'x'`, `UPDATE secret_versions SET name_key = 'x'`}, "x"
				case "newest", "ordinal":
					edits = []string{`UPDATE secrets SET newest = newest + 1`, `UPDATE secret_versions SET ordinal = ordinal + 1`}
				case "version":
					version = "0123456789abcdef0123456789abcdef"
				}
				f.tamper(edits, func(tx *db.Tx) error {
					_, _, err := f.version(tx, vault.ID, name, version)
					return err
				})
			}
		}
		f.wantValue("a", v.Version, "x")
	})
}

// tamper edits rows, expects read to notice, and undoes the edits.
func (f *fixture) tamper(edits []string, read func(*db.Tx) error) {
	f.t.Helper()
	undo := errors.New("undo")
	err := f.tryUpdate(func(tx *db.Tx) error {
		for _, q := range edits {
			if n, err := tx.Exec(q); err != nil || n == 0 {
				f.t.Errorf("%s: %d rows, %v", q, n, err)
				return undo
			}
		}
		if err := read(tx); !errors.Is(err, envelope.ErrTampered) {
			f.t.Errorf("%q: got %v, want ErrTampered", edits, err)
		}
		return undo
	})
	if !errors.Is(err, undo) {
		f.t.Errorf("%q: %v", edits, err)
	}
}

// Whole pieces that are genuine elsewhere: values, rows and heads that were copied or put back.
func TestCopiedRowsAreNoticed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		first, second := f.set("a", "first"), f.set("a", "second")
		f.set("b", "other")
		elsewhere := f.newVault("vault2", subscription, "westeurope", false)
		if _, err := f.trySet(elsewhere, "a", draft("elsewhere")); err != nil {
			t.Fatal(err)
		}
		const columns = `tenant_id, enabled, not_before_us, expires_us, created_us, updated_us, content_type, tags, value_sealed, row_mac`
		replace := func(from string) []string {
			return []string{`
				UPDATE secret_versions SET (` + columns + `) = (SELECT ` + columns + ` FROM secret_versions s WHERE ` + from + `)
				WHERE vault_id = '` + f.vault.ID + `' AND name_key = 'a' AND ordinal = 2`}
		}
		mine := `s.vault_id = '` + f.vault.ID + `' AND `
		get := func(tx *db.Tx) error { _, err := f.Get(tx, f.vault, "a", ""); return err }
		for what, edits := range map[string][]string{
			"an older version's row":   replace(mine + `s.name_key = 'a' AND s.ordinal = 1`),
			"another secret's row":     replace(mine + `s.name_key = 'b'`),
			"another vault's row":      replace(`s.vault_id = '` + elsewhere.ID + `'`),
			"an older version's value": {`UPDATE secret_versions SET value_sealed = (SELECT s.value_sealed FROM secret_versions s WHERE s.version = '` + first.Version + `') WHERE version = '` + second.Version + `'`},
			"the head points back":     {`UPDATE secrets SET newest = 1 WHERE vault_id = '` + f.vault.ID + `' AND name_key = 'a'`},
			"versions swapped": {
				`UPDATE secret_versions SET ordinal = 3 WHERE version = '` + first.Version + `'`,
				`UPDATE secret_versions SET ordinal = 1 WHERE version = '` + second.Version + `'`,
				`UPDATE secret_versions SET ordinal = 2 WHERE version = '` + first.Version + `'`,
			},
		} {
			t.Run(what, func(t *testing.T) { f.tamper(edits, get) })
		}
		f.tamper([]string{`UPDATE secrets SET newest = 1 WHERE name_key = 'a'`}, func(tx *db.Tx) error {
			_, err := f.Set(tx, f.vault, "a", NewVersion(), draft("x"))
			return err
		})
		for what, read := range map[string]func(*db.Tx) error{
			"list":     func(tx *db.Tx) error { _, err := f.List(tx, f.vault, Page{Limit: 10}); return err },
			"versions": func(tx *db.Tx) error { _, err := f.Versions(tx, f.vault, "a", Page{Limit: 10}); return err },
			"update":   func(tx *db.Tx) error { _, err := f.Update(tx, f.vault, "a", "", Patch{}); return err },
			"delete":   func(tx *db.Tx) error { _, err := f.Delete(tx, f.vault, "a"); return err },
			"backup":   func(tx *db.Tx) error { _, err := f.Backup(tx, f.vault, "a"); return err },
		} {
			t.Run(what, func(t *testing.T) { f.tamper([]string{`UPDATE secret_versions SET enabled = NOT enabled`}, read) })
		}
		f.tamper([]string{`UPDATE secrets SET deleted_us = 1, purge_us = 1`}, func(tx *db.Tx) error { return f.Purge(tx, f.vault, "a", false) })
		f.wantValue("a", "", "second")
	})
}

// Even a row whose MAC were right would not open: the value itself is bound to its place. The
// test has the ring, which the attacker has not.
func TestValueIsBoundToItsPlace(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.set("a", "first")
		f.set("a", "second")
		f.set("b", "other")
		f.update(func(tx *db.Tx) error {
			h, v, err := f.version(tx, f.vault.ID, "a", "")
			if err != nil {
				return err
			}
			_, other, err := f.version(tx, f.vault.ID, "b", "")
			if err != nil {
				return err
			}
			v.sealed = other.sealed
			if _, err := tx.Exec(`UPDATE secret_versions SET value_sealed = $1 WHERE version = $2`, v.sealed, v.Version); err != nil {
				return err
			}
			old := v.mac
			if err := f.putVersion(tx, f.vault.ID, h.nameKey, &v); err != nil {
				return err
			}
			h.newestMAC = v.mac
			return f.writeHead(tx, f.vault.ID, h, [][]byte{old}, [][]byte{v.mac})
		})
		if _, err := f.get("a", ""); !errors.Is(err, envelope.ErrTampered) {
			t.Errorf("got %v, want ErrTampered", err)
		}
	})
}

// What a secret holds is nowhere in the files of the database; its name, the control, is.
func TestValuesAreNotInTheFiles(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		if f.o.Engine != db.SQLite {
			t.Skip("the server's files are searched in test/leak")
		}
		const needle = "needle-in-the-haystack-5f1c"
		f.set("control-of-the-search", needle)
		f.backup("control-of-the-search")
		f.update(func(tx *db.Tx) error { tx.Record([]byte("x")); return nil })
		files, err := filepath.Glob(f.o.Path + "*")
		if err != nil || len(files) < 2 {
			t.Fatalf("files %q, %v", files, err)
		}
		control := false
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil || bytes.Contains(b, []byte(needle)) {
				t.Errorf("%s holds the value, or %v", filepath.Base(name), err)
			}
			control = control || bytes.Contains(b, []byte("control-of-the-search"))
		}
		if !control {
			t.Error("the control was not found: the search proves nothing")
		}
	})
}
