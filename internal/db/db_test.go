package db_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

func TestUpdateSharesCommitsAndKeepsRefusalsApart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		refused := errors.New("refused")
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				err := d.Update(t.Context(), []string{db.Directory}, func(tx *db.Tx) error {
					if err := tx.SetMeta(fmt.Sprint("k", i), "v"); err != nil {
						return err
					}
					tx.Record([]byte{byte(i)})
					if err := tx.Raise(db.Directory); err != nil {
						return err
					}
					if i%3 == 0 {
						return refused
					}
					return nil
				})
				if want := i%3 == 0; errors.Is(err, refused) != want || !want && err != nil {
					t.Errorf("update %d: got %v", i, err)
				}
			})
		}
		wg.Wait()
		err := d.View(t.Context(), func(tx *db.Tx) error {
			for i := range 100 {
				v, err := tx.Meta(fmt.Sprint("k", i))
				if err != nil || (v == "v") != (i%3 != 0) {
					t.Errorf("key %d = %q, %v", i, v, err)
				}
			}
			if got := tx.Revision(db.Directory); got != 66 {
				t.Errorf("revision = %d, want 66", got)
			}
			var n int
			err := tx.QueryRow(`SELECT CAST(SUM(entries) AS BIGINT) FROM journal`).Scan(&n)
			if n != 66 {
				t.Errorf("journal entries = %d, want 66", n)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestLease(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		take := func(holder string, ttl time.Duration) (fence int64, ok bool) {
			err := d.Update(t.Context(), nil, func(tx *db.Tx) (err error) {
				fence, ok, err = tx.Lease("purge", holder, ttl)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return fence, ok
		}
		for i, step := range []struct {
			holder string
			ttl    time.Duration
			fence  int64
			ok     bool
		}{
			{"a", time.Hour, 1, true},
			{"b", time.Hour, 0, false},
			{"a", -time.Hour, 1, true}, // renewed, and given up
			{"b", time.Hour, 2, true},
		} {
			if fence, ok := take(step.holder, step.ttl); fence != step.fence || ok != step.ok {
				t.Errorf("step %d: %s got %d, %v, want %d, %v", i, step.holder, fence, ok, step.fence, step.ok)
			}
		}
	})
}
