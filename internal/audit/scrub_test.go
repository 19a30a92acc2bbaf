package audit

import (
	"errors"
	"testing"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/envelope"
)

// try takes a step of a proof in a snapshot of its own.
func (p *Places) try(t testing.TB, d *db.DB) (done bool, err error) {
	t.Helper()
	err = d.View(t.Context(), func(tx *db.Tx) (err error) {
		done, err = p.Step(tx)
		return err
	})
	return done, err
}

// finish goes on until the proof has ended, and says after how many steps.
func (p *Places) finish(t testing.TB, d *db.DB) (steps int, err error) {
	t.Helper()
	for steps < 100 {
		steps++
		if done, err := p.try(t, d); done || err != nil {
			return steps, err
		}
	}
	t.Fatal("the proof does not end")
	return steps, nil
}

// Entries come and leave between the steps of a proof.
func TestPlacesInSteps(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		a := newArchive(t)
		p := &Places{atOnce: 2}
		if steps, err := p.finish(t, d); steps != 1 || err != nil {
			t.Errorf("an empty log: %d steps, %v, want 1 and no finding", steps, err)
		}
		store(t, d, time.Hour, names("a", 7)...)
		p = &Places{atOnce: 2}
		if done, err := p.try(t, d); done || err != nil {
			t.Errorf("first step: done %v, %v, want more to do", done, err)
		}
		store(t, d, time.Hour, names("b", 2)...)
		if steps, err := p.finish(t, d); steps != 4 || err != nil {
			t.Errorf("with two more: %d steps more, %v, want 4 and no finding", steps, err)
		}
		p = &Places{atOnce: 2}
		for range 2 {
			if done, err := p.try(t, d); done || err != nil {
				t.Errorf("before some leave: done %v, %v, want more to do", done, err)
			}
		}
		a.MaxEntries = 3
		closeSegments(t, a, d)
		if _, err := p.finish(t, d); err != nil {
			t.Errorf("after some have left: %v, want no finding", err)
		}
		a.MaxAge = time.Minute
		closeSegments(t, a, d)
		if _, err := new(Places).finish(t, d); err != nil || inJournal(t, d) > 0 {
			t.Errorf("after all have left: %v, %d rows, want no finding and none", err, inJournal(t, d))
		}
	})
}

// Rows that count for no entry do not keep a proof from its end.
func TestPlacesOfNothing(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLiteOptions(t))
	store(t, d, time.Hour, names("a", 4)...)
	err := d.Update(t.Context(), nil, func(tx *db.Tx) error {
		_, err := tx.Exec(`INSERT INTO journal
			SELECT commit_id || x.n, tenant_id, committed_us, 0, records, row_mac, position, position_mac
			FROM journal, (SELECT 1 AS n UNION SELECT 2 UNION SELECT 3 UNION SELECT 4) x WHERE position = 2`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&Places{atOnce: 2}).finish(t, d); !errors.Is(err, envelope.ErrTampered) {
		t.Errorf("got %v, want %v", err, envelope.ErrTampered)
	}
}

// A row before the first position is a finding, and is not taken for one that has left.
func TestPlacesBeforeTheFirst(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		a := newArchive(t)
		store(t, d, time.Hour, names("a", 4)...)
		err := d.Update(t.Context(), nil, func(tx *db.Tx) error {
			_, err := tx.Exec(`INSERT INTO journal (commit_id, tenant_id, committed_us, entries, records, row_mac, position, position_mac)
				SELECT 'forged', tenant_id, committed_us, entries, records, row_mac, -1, position_mac FROM journal WHERE position = 2`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := new(Places).finish(t, d); !errors.Is(err, envelope.ErrTampered) {
			t.Errorf("got %v, want %v", err, envelope.ErrTampered)
		}
		a.MaxAge = time.Minute
		if err := a.Close(t.Context(), d); !errors.Is(err, envelope.ErrTampered) {
			t.Errorf("closing segments = %v, want %v", err, envelope.ErrTampered)
		}
	})
}
