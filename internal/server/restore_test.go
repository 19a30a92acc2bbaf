package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"strongroom/internal/audit"
	"strongroom/internal/config"
	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/dump"
)

// dumped is a dump of a deployment with a bit of everything, and its root key.
type dumped struct {
	bytes []byte
	root  string // file
}

func newDumped(t *testing.T) dumped {
	t.Helper()
	a := startApp(t, testConfig(t))
	newTranscript(t, a).run(`
@officer PUT vault:/secrets/one {"value":"first"}
200
@officer PUT vault:/secrets/one {"value":"second"}
200
@officer PUT vault:/secrets/two {"value":"other","tags":{"a":"b"}}
200
@officer DELETE vault:/secrets/two
200
@owner POST graph:/v1.0/applications {"displayName":"program"}
201 {"id":"$object","appId":"$app"}
@owner POST graph:/v1.0/applications/$object/addPassword {"passwordCredential":{}}
200
`)
	var b bytes.Buffer
	if err := a.dump(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return dumped{b.Bytes(), a.config.RootKey.File}
}

// place is an empty place that has the root key of the dump.
func (d dumped) place(t *testing.T, engine string) config.Config {
	t.Helper()
	cfg := testConfig(t)
	if engine == string(db.PostgreSQL) {
		cfg.Database = config.Database{Engine: engine, URL: dbtest.NewDatabase(t), Connections: 8}
	}
	cfg.RootKey.File = filepath.Join(t.TempDir(), "root.key")
	copyFile(t, d.root, cfg.RootKey.File)
	return cfg
}

func eachEngine(t *testing.T, test func(t *testing.T, engine string)) {
	for _, engine := range []db.Engine{db.SQLite, db.PostgreSQL} {
		t.Run(string(engine), func(t *testing.T) { test(t, string(engine)) })
	}
}

func restore(t *testing.T, cfg config.Config, b []byte) (RestoreReport, error) {
	t.Helper()
	return Restore(t.Context(), Options{Config: cfg, Stderr: io.Discard, Version: "test"}, bytes.NewReader(b), nil)
}

// A restored deployment is not served before it is confirmed; then it has everything, and the audit
// log goes on.
func TestRestore(t *testing.T) {
	d := newDumped(t)
	eachEngine(t, func(t *testing.T, engine string) {
		cfg := d.place(t, engine)
		report, err := restore(t, cfg, d.bytes)
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Compared) != 3+len(db.Tables()) || report.Header.Engine != "sqlite" {
			t.Errorf("the report has %d figures and says %q, want %d and sqlite", len(report.Compared), report.Header.Engine, 3+len(db.Tables()))
		}
		o := Options{Config: cfg, Stderr: io.Discard, Version: "test"}
		if a, err := newApp(t.Context(), o, slog.New(slog.DiscardHandler)); err == nil || !errors.Is(err, ErrUnconfirmed) {
			t.Fatalf("start unconfirmed: %v, %v, want what to type", a, err)
		}
		if _, err := restore(t, cfg, d.bytes); !errors.Is(err, db.ErrNotEmpty) || !strings.Contains(err.Error(), "secret_versions (3)") {
			t.Errorf("restore over it: got %v, want ErrNotEmpty with what is there", err)
		}
		at, err := ConfirmRestore(t.Context(), o)
		if err != nil || at.Entries != report.Header.Entries {
			t.Fatalf("confirm: %+v, %v, want %d entries", at, err, report.Header.Entries)
		}
		a, err := newApp(t.Context(), o, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer a.close()
		if err := a.scheduler.Number(t.Context()); err != nil {
			t.Fatal(err)
		}
		var entries []audit.Entry
		err = a.db.View(t.Context(), func(tx *db.Tx) error {
			all, err := (&audit.Archive{}).Read(tx, 1, 1000)
			for i, p := range all {
				if p.Position != int64(i+1) {
					t.Errorf("entry %d has position %d", i+1, p.Position)
				}
				entries = append(entries, p.Entry)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		last := entries[len(entries)-1]
		if int64(len(entries)) != report.Header.Entries+1 || last.Operation != "RestoreConfirm" || !strings.Contains(last.Detail, report.SHA256) {
			t.Errorf("%d entries, the last %s %q; want %d and RestoreConfirm with the dump's checksum",
				len(entries), last.Operation, last.Detail, report.Header.Entries+1)
		}
		if err := a.db.View(t.Context(), a.scheduler.Prove); err != nil {
			t.Errorf("prove what was restored: %v", err)
		}
	})
}

// edited is a dump made anew, with a right checksum, of rows that somebody has had in hand.
func edited(t *testing.T, b []byte, head func(*dump.Header), edit func(table string, columns []string, rows [][]any) [][]any) []byte {
	t.Helper()
	r, err := dump.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	h := r.Header()
	if head != nil {
		head(&h)
	}
	var out bytes.Buffer
	w, err := dump.NewWriter(&out, h)
	if err != nil {
		t.Fatal(err)
	}
	for {
		table, err := r.NextTable()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var rows [][]any
		for row, err := r.Row(); err == nil; row, err = r.Row() {
			rows = append(rows, slices.Clone(row))
		}
		if edit != nil {
			rows = edit(table.Name, table.Columns, rows)
		}
		if rows == nil && edit != nil {
			continue // the table as well
		}
		if err := w.Table(table); err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			if err := w.Row(row); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// set changes a column of the first row of a table.
func set(table, column string, to any) func(string, []string, [][]any) [][]any {
	return in(table, func(columns []string, rows [][]any) [][]any {
		rows[0][slices.Index(columns, column)] = to
		return rows
	})
}

// in edits the rows of a table; others stay.
func in(table string, edit func(columns []string, rows [][]any) [][]any) func(string, []string, [][]any) [][]any {
	return func(name string, columns []string, rows [][]any) [][]any {
		if rows == nil {
			rows = [][]any{}
		}
		if name == table {
			return edit(columns, rows)
		}
		return rows
	}
}

func dropFirst(_ []string, rows [][]any) [][]any { return rows[1:] }
func dropLast(_ []string, rows [][]any) [][]any  { return rows[:len(rows)-1] }
func dropTable([]string, [][]any) [][]any        { return nil }
func dropAll([]string, [][]any) [][]any          { return [][]any{} }

// TestRestoreRefuses: whatever comes instead of a dump of this deployment, it is named, and the
// place is as it was.
func TestRestoreRefuses(t *testing.T) {
	d := newDumped(t)
	foreign := newDumped(t)
	changed := func(edit func(string, []string, [][]any) [][]any) []byte { return edited(t, d.bytes, nil, edit) }
	header := func(head func(*dump.Header)) []byte { return edited(t, d.bytes, head, nil) }
	cases := []struct {
		name string
		in   []byte
		want string
	}{
		{"nothing", nil, "no strongroom dump"},
		{"something else", []byte("PGDMP and so on, for longer than a header"), "no strongroom dump"},
		{"cut short", d.bytes[:len(d.bytes)-1], "cut short"},
		{"cut in the middle", d.bytes[:len(d.bytes)/2], "cut short"},
		{"cut in the keyring", d.bytes[:1500], "cut short"},
		{"a byte more", append(slices.Clone(d.bytes), 0), "bytes behind the end"},
		{"another deployment's", foreign.bytes, "of another deployment"},
		{"a newer schema", header(func(h *dump.Header) { h.Schema++ }), "newer release test"},
		{"a header of another deployment", header(func(h *dump.Header) { h.Deployment = "x" }), `names deployment "x"`},
		{"a header of another revision", header(func(h *dump.Header) { h.Authorisation++ }), "revision of authorisation"},
		{"a header of more entries", header(func(h *dump.Header) { h.Entries++ }), "audit entries"},
		{"no table of secrets", changed(in("secrets", dropTable)), `table "secrets" is missing`},
		{"no table of journal rows", changed(in("journal", dropTable)), `found table "events"`},
		{"a value of another row", changed(in("secret_versions", func(columns []string, rows [][]any) [][]any {
			i := slices.Index(columns, "value_sealed")
			rows[0][i], rows[1][i] = rows[1][i], rows[0][i]
			return rows
		})), "did not write"},
		{"an enabled version", changed(set("secret_versions", "enabled", int64(0))), "did not write"},
		{"a version less", changed(in("secret_versions", dropLast)), "did not write"},
		{"a secret less", changed(in("secrets", dropFirst)), "did not write"},
		{"a secret recovered", changed(func(table string, columns []string, rows [][]any) [][]any {
			for _, row := range rows {
				if i := slices.Index(columns, "deleted_us"); table == "secrets" {
					row[i] = nil
				}
			}
			return append([][]any{}, rows...)
		}), "did not write"},
		{"an assignment to another", changed(set("role_assignments", "principal_id", "11111111-1111-4111-8111-111111111111")), "did not write"},
		{"an assignment less", changed(in("role_assignments", dropFirst)), "did not write"},
		{"no assignment", changed(in("role_assignments", dropAll)), "did not write"},
		{"a principal less", changed(in("principals", dropFirst)), "did not write"},
		{"a credential less", changed(in("credentials", dropFirst)), "did not write"},
		{"a vault less", changed(in("vaults", dropFirst)), "did not write"},
		{"a vault without a firewall", changed(set("vaults", "properties", "{}")), "did not write"},
		{"a signing key less", changed(in("signing_keys", dropFirst)), "did not write"},
		{"a group less", changed(in("resource_groups", dropFirst)), "did not write"},
		{"an audit entry less", changed(in("journal", dropFirst)), "did not write"},
		{"the last audit entry less", changed(in("journal", dropLast)), "did not write"},
		{"audit entries changed", changed(set("journal", "records", []byte("nothing"))), "did not write"},
		{"a key of the keyring changed", changed(set("keyring", "key_sealed", []byte("nothing"))), ""},
		{"a long setting", changed(in("meta", func(_ []string, rows [][]any) [][]any {
			return append(rows, []any{"long", strings.Repeat("x", maxEarlyBytes), nil})
		})), "more than 10000 rows"},
		{"a key of the keyring less", changed(in("keyring", dropFirst)), "no mac key"},
		{"a revision of another time", changed(set("revisions", "revision", int64(1))), ""},
		{"a revision less", changed(in("revisions", dropFirst)), ""},
		{"a setting changed", changed(func(table string, _ []string, rows [][]any) [][]any {
			for _, row := range rows {
				if table == "meta" && row[0] == "default_group" {
					row[1] = "mine"
				}
			}
			return append([][]any{}, rows...)
		}), ""},
		{"text for a number", changed(set("vaults", "retention_days", "ninety")), "store rows of vaults"},
		{"a row twice", changed(in("vaults", func(_ []string, rows [][]any) [][]any { return append(rows, rows[0]) })), "store rows of vaults"},
	}
	older := dump.Header{Release: "v0", Schema: db.SchemaVersion() - 1}
	if err := checkSchema(older); err == nil || !strings.Contains(err.Error(), "older release v0") {
		t.Errorf("an older schema: got %v, want the release that made it", err)
	}
	eachEngine(t, func(t *testing.T, engine string) {
		cfg := d.place(t, engine)
		for _, tt := range cases {
			_, err := restore(t, cfg, tt.in)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
			}
			if _, err := os.Stat(cfg.DataDir); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("%s: something was left in the data folder: %v", tt.name, err)
			}
		}
		if _, err := restore(t, cfg, d.bytes); err != nil { // into the same place: it is empty still
			t.Errorf("the dump itself, after all of these: %v", err)
		}
	})
}

// Without the root key of the deployment nothing is begun.
func TestRestoreWantsTheRootKey(t *testing.T) {
	d, other := newDumped(t), newDumped(t)
	for _, tt := range []struct{ name, file, want string }{
		{"another deployment's", other.root, "which is of another deployment: the dump of deployment"},
		{"none", "", "the root key of the deployment that made the dump is needed"},
	} {
		cfg := d.place(t, "sqlite")
		if err := os.Remove(cfg.RootKey.File); err != nil {
			t.Fatal(err)
		}
		if tt.file != "" {
			copyFile(t, tt.file, cfg.RootKey.File)
		}
		if _, err := restore(t, cfg, d.bytes); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
		if _, err := os.Stat(cfg.DataDir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the data folder was made: %v", tt.name, err)
		}
	}
}

// A node that has seen a later state, and lost its database, restores and confirms in the same way.
func TestRestoreBehindTheProgress(t *testing.T) {
	d := newDumped(t)
	cfg := d.place(t, "sqlite")
	if err := makeDataDir(cfg); err != nil {
		t.Fatal(err)
	}
	report, err := restore(t, cfg, d.bytes)
	if err != nil {
		t.Fatal(err)
	}
	later := Progress{Deployment: report.Header.Deployment, Authorisation: 1000, Directory: 1000, Entries: 1000}
	if err := later.store(cfg); err != nil {
		t.Fatal(err)
	}
	o := Options{Config: cfg, Stderr: io.Discard}
	if _, err := ConfirmRestore(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	a, err := newApp(t.Context(), o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("start after the confirmation: %v", err)
	}
	a.close()
}

// A restore that is interrupted leaves nothing.
func TestRestoreInterrupted(t *testing.T) {
	d := newDumped(t)
	eachEngine(t, func(t *testing.T, engine string) {
		cfg := d.place(t, engine)
		ctx, cancel := context.WithCancel(t.Context())
		tables := 0
		_, err := Restore(ctx, Options{Config: cfg, Stderr: io.Discard}, bytes.NewReader(d.bytes), func(string) {
			if tables++; tables == len(db.Tables()) {
				cancel()
			}
		})
		if err == nil || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		if _, err := os.Stat(cfg.DataDir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("something was left in the data folder: %v", err)
		}
		if _, err := restore(t, cfg, d.bytes); err != nil {
			t.Errorf("once more: %v", err)
		}
	})
}

// A dump whose reader goes away ends; the next one is whole.
func TestDumpBreaksOff(t *testing.T) {
	a := startApp(t, testConfig(t))
	for n := range 3 {
		gone := errors.New("gone")
		w := &failingWriter{left: n * 100, err: gone}
		if err := a.dump(t.Context(), w); !errors.Is(err, gone) {
			t.Errorf("after %d bytes: got %v, want %v", n*100, err, gone)
		}
	}
	var b bytes.Buffer
	if err := a.dump(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	edited(t, b.Bytes(), nil, nil)
}

type failingWriter struct {
	left int
	err  error
}

func (w *failingWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, w.err
	}
	return len(b), nil
}

// A dump is of one moment: what is written while it is made is in it as a whole, or not at all.
func TestDumpIsOneState(t *testing.T) {
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		a := start(t)
		tr := newTranscript(t, a)
		var b bytes.Buffer
		writes := 0
		err := a.dump(t.Context(), writerFunc(func(p []byte) (int, error) {
			if writes++; writes < 20 {
				tr.run(fmt.Sprintf("@officer PUT vault:/secrets/during-%d {\"value\":\"x\"}\n200\n", writes))
			}
			return b.Write(p)
		}))
		if err != nil {
			t.Fatal(err)
		}
		d := dumped{b.Bytes(), a.config.RootKey.File}
		if _, err := restore(t, d.place(t, "sqlite"), d.bytes); err != nil {
			t.Errorf("restore it: %v", err)
		}
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
