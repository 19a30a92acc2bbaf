package db_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
)

// TestOneFileByTwoNames opens a database by links too: two processes on one file are refused
// whatever they call it.
func TestOneFileByTwoNames(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a right there that tests do not have")
	}
	o := dbtest.SQLiteOptions(t)
	dir := t.TempDir()
	link := func(name, to string) string {
		path := filepath.Join(dir, name)
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	names := []string{
		o.Path,
		link("file.db", o.Path),
		link("link.db", filepath.Join(dir, "file.db")),
		filepath.Join(link("folder", filepath.Dir(o.Path)), filepath.Base(o.Path)),
	}
	closeDB(t, dbtest.Open(t, o))
	for _, first := range names {
		o.Path = first
		d := dbtest.Open(t, o)
		for _, second := range names {
			o.Path = second
			again, err := db.Open(t.Context(), o)
			if err == nil {
				closeDB(t, again)
			}
			if !errors.Is(err, db.ErrInUse) {
				t.Errorf("open as %s while it is open as %s: got %v, want ErrInUse", second, first, err)
			}
		}
		closeDB(t, d)
	}
}
