package db_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
)

// Room that is made on a full disk is for records: those of the commit that failed are stored, and its
// changes are refused.
func TestRoomIsForRecords(t *testing.T) {
	var d *db.DB
	var asked atomic.Int64
	o := dbtest.SQLiteOptions(t)
	o.MakeRoom = func() bool {
		asked.Add(1)
		return d.LimitPages(context.Background(), "1000000") == nil
	}
	d = dbtest.Open(t, o)
	big := bytes.Repeat([]byte("x"), 1<<20)
	full := func() {
		if err := d.LimitPages(t.Context(), "1"); err != nil {
			t.Fatal(err)
		}
	}
	full()
	if err := d.Append(t.Context(), big); err != nil || asked.Load() != 1 {
		t.Errorf("Append = %v after %d times of making room, want nil after 1", err, asked.Load())
	}
	full()
	err := d.Update(t.Context(), nil, func(tx *db.Tx) error { return tx.SetMeta("big", string(big)) })
	if !errors.Is(err, db.ErrNoSpace) || !errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrUnknownOutcome) || asked.Load() != 2 {
		t.Errorf("Update = %v after %d times of making room, want ErrNoSpace after 2", err, asked.Load())
	}
	if got := meta(t, d, "big"); got != "" {
		t.Errorf("the refused change is stored, %d bytes", len(got))
	}
	checkJournal(t, d)
}

// Where room is short the write-ahead log stays small, though commit follows commit.
func TestLogStaysSmallWhereRoomIsShort(t *testing.T) {
	o := dbtest.SQLiteOptions(t)
	o.IsShort = func() bool { return true }
	d := dbtest.Open(t, o)
	record := bytes.Repeat([]byte("x"), 100<<10)
	for range 40 {
		if err := d.Append(t.Context(), record); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(o.Path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() > 1<<20 { // it is folded from 512 KiB on, between two commits
			t.Fatalf("the log has %d bytes, want at most 1 MiB", st.Size())
		}
	}
	checkJournal(t, d)
}

// Peek looks at a database that is in use, and leaves no trace.
func TestPeek(t *testing.T) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		d := dbtest.Open(t, o)
		update(t, d, func(tx *db.Tx) error { return tx.SetMeta("k", "v") })
		p, err := db.Peek(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		p.Bind(dbtest.Tenant, dbtest.Ring(t))
		if got := meta(t, p, "k"); got != "v" {
			t.Errorf("k = %q, want v", got)
		}
		if size, err := p.Size(t.Context()); err != nil || size < 100<<10 {
			t.Errorf("Size = %d, %v, want that of a schema at least", size, err)
		}
		settings, err := p.Settings(t.Context())
		if err != nil || len(settings) == 0 {
			t.Errorf("Settings = %v, %v, want some", settings, err)
		}
		for _, s := range settings {
			if s.Fault != "" {
				t.Errorf("setting %+v, want no fault", s)
			}
		}
	})
}

func TestPeekRefuses(t *testing.T) {
	o := dbtest.SQLiteOptions(t)
	if _, err := db.Peek(t.Context(), o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Peek at nothing = %v, want that it does not exist", err)
	}
	if _, err := os.Stat(o.Path); err == nil {
		t.Error("Peek has made a file")
	}
}

func TestJudgeStandbys(t *testing.T) {
	for _, tt := range []struct {
		names, commit string
		states        []string
		fault, mend   bool
	}{
		{"", "on", nil, false, true},
		{"", "on", []string{"async"}, true, true},
		{"ANY 1 (*)", "on", []string{"quorum", "quorum"}, false, false},
		{"one", "on", []string{"sync", "potential"}, false, false},
		{"one", "on", []string{"async"}, true, true},
		{"one", "on", nil, true, true},
		{"one", "local", []string{"sync"}, true, true},
		{"", "on", []string{"hidden"}, false, true},
	} {
		s := db.JudgeStandbys(tt.names, tt.commit, tt.states)
		if (s.Fault != "") != tt.fault || (s.Mend != "") != tt.mend {
			t.Errorf("%q, %s, %q: %+v, want a fault %v and a line %v", tt.names, tt.commit, tt.states, s, tt.fault, tt.mend)
		}
	}
}
