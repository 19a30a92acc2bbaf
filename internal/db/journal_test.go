package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/envelope"
)

// places are the first positions of all rows, in the order of their commits.
func places(t *testing.T, d *db.DB) (out []int64) {
	t.Helper()
	view(t, d, func(tx *db.Tx) error {
		return tx.Query(func(row db.Scanner) error {
			var position int64
			err := row.Scan(&position)
			out = append(out, position)
			return err
		}, `SELECT COALESCE(position, 0) FROM journal ORDER BY commit_id`)
	})
	return out
}

func record(t *testing.T, d *db.DB, records int) {
	t.Helper()
	if err := d.Append(t.Context(), slices.Repeat([][]byte{[]byte("read")}, records)...); err != nil {
		t.Fatal(err)
	}
}

// The only writer gives places as it stores, whatever became of the commits before.
func TestPlacesAreDense(t *testing.T) {
	o := dbtest.SQLiteOptions(t)
	d := dbtest.Open(t, o)
	record(t, d, 1)
	record(t, d, 3)
	update(t, d, func(tx *db.Tx) error {
		tx.Record([]byte("write"))
		return nil
	})
	if err := d.Update(t.Context(), nil, func(*db.Tx) error { return errRefused }); err == nil {
		t.Error("a job that refuses ended well")
	}
	record(t, d, 1)
	if err := d.LimitPages(context.Background(), "1"); err != nil {
		t.Fatal(err)
	}
	if err := d.Append(t.Context(), make([]byte, 1<<20)); err == nil {
		t.Error("a full database took a record")
	}
	if err := d.LimitPages(context.Background(), fmt.Sprint(1<<30)); err != nil {
		t.Fatal(err)
	}
	record(t, d, 2)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = dbtest.Open(t, o) // nothing of it was numbered
	record(t, d, 1)
	if got, want := places(t, d), []int64{1, 2, 5, 6, 7, 9}; !slices.Equal(got, want) {
		t.Errorf("places = %d, want %d", got, want)
	}
}

// Where others write too, a place is given later.
func TestPlacesOfMany(t *testing.T) {
	d := dbtest.Open(t, dbtest.PostgreSQLOptions(t))
	record(t, d, 1)
	record(t, d, 1)
	if got, want := places(t, d), []int64{0, 0}; !slices.Equal(got, want) {
		t.Errorf("places = %d, want none", got)
	}
}

// A row that somebody else has put behind the log neither stops it nor moves it.
func TestForeignRowHoldsNoPlace(t *testing.T) {
	o := dbtest.SQLiteOptions(t)
	d := dbtest.Open(t, o)
	record(t, d, 2)
	exec(t, raw(t, o), `
		INSERT INTO journal (commit_id, tenant_id, committed_us, entries, row_mac, position, position_mac, records)
		SELECT '0', tenant_id, committed_us, 1000, row_mac, 3, position_mac, records FROM journal`)
	record(t, d, 1)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = dbtest.Open(t, o)
	record(t, d, 1)
	if got, want := places(t, d)[1:], []int64{1, 3, 4}; !slices.Equal(got, want) {
		t.Errorf("our places = %d, want %d", got, want)
	}
}

// An index or a table that somebody else has made keeps an entry out of the log, but nobody is told that
// it is there.
func TestEntryIsKeptOut(t *testing.T) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		d := dbtest.Open(t, o)
		record(t, d, 1)
		exec(t, raw(t, o), `CREATE UNIQUE INDEX x ON journal (tenant_id)`)
		if err := d.Append(t.Context(), []byte("read")); !errors.Is(err, envelope.ErrTampered) {
			t.Errorf("an entry that an index keeps out: %v, want %v", err, envelope.ErrTampered)
		}
		err := d.Update(t.Context(), nil, func(tx *db.Tx) error { tx.Record([]byte("write")); return nil })
		if !errors.Is(err, envelope.ErrTampered) {
			t.Errorf("a write whose entry an index keeps out: %v, want %v", err, envelope.ErrTampered)
		}
		if n := len(places(t, d)); n != 1 {
			t.Errorf("%d rows, want the first", n)
		}
	})
}

func TestEntryIsIgnored(t *testing.T) {
	o := dbtest.SQLiteOptions(t)
	d := dbtest.Open(t, o)
	record(t, d, 1)
	exec(t, raw(t, o), `
		ALTER TABLE journal RENAME TO old;
		CREATE TABLE journal (commit_id TEXT PRIMARY KEY, tenant_id TEXT UNIQUE ON CONFLICT IGNORE, committed_us INTEGER, entries INTEGER,
			row_mac BLOB, position INTEGER, position_mac BLOB, records BLOB);
		INSERT INTO journal SELECT commit_id, tenant_id, committed_us, entries, row_mac, position, position_mac, records FROM old`)
	if err := d.Append(t.Context(), []byte("read")); !errors.Is(err, envelope.ErrTampered) {
		t.Errorf("an entry that the table ignores: %v, want %v", err, envelope.ErrTampered)
	}
}
