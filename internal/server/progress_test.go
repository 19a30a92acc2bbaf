package server

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"strongroom/internal/audit"
	"strongroom/internal/db"
)

// A database that is put back to an earlier state is not served until somebody confirms it; the
// confirmation stands in the audit log. Another deployment in the same folder is not asked.
func TestRolledBackDatabaseIsRefused(t *testing.T) {
	cfg := testConfig(t)
	file := filepath.Join(t.TempDir(), "copy")
	a := startApp(t, cfg)
	note := func() {
		t.Helper()
		p, err := a.readProgress(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := p.store(cfg); err != nil {
			t.Fatal(err)
		}
	}
	note()
	a.close()
	copyFile(t, cfg.Database.Path, file)
	o := Options{Config: cfg, Stderr: os.Stderr}
	a, err := newApp(t.Context(), o, a.log)
	if err != nil {
		t.Fatal(err)
	}
	err = a.db.Update(t.Context(), []string{db.Directory}, func(tx *db.Tx) error { return tx.Raise(db.Directory) })
	if err != nil {
		t.Fatal(err)
	}
	note()
	a.close()
	copyFile(t, file, cfg.Database.Path)

	if _, err := newApp(t.Context(), o, a.log); err == nil || !strings.Contains(err.Error(), "lies behind") {
		t.Fatalf("start = %v, want a refusal of the old state", err)
	}
	if _, err := ConfirmRestore(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	b, err := newApp(t.Context(), o, a.log)
	if err != nil {
		t.Fatalf("start after the confirmation: %v", err)
	}
	defer b.close()
	if err := b.scheduler.Number(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = b.db.View(t.Context(), func(tx *db.Tx) error {
		all, err := (&audit.Archive{}).Read(tx, 1, 1000)
		if !slices.ContainsFunc(all, func(p audit.Positioned) bool { return p.Entry.Operation == "RestoreConfirm" }) {
			t.Errorf("the confirmation is not among %d entries", len(all))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
