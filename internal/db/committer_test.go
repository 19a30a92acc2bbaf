package db_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
)

var errRefused = errors.New("refused")

func TestJobsShareCommits(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		const jobs = 400
		var wg sync.WaitGroup
		for i := range jobs {
			wg.Go(func() {
				var err error
				if i%2 == 0 {
					err = d.Append(t.Context(), []byte("read"), []byte("twice"))
				} else {
					err = d.Update(t.Context(), []string{db.Directory}, func(tx *db.Tx) error {
						tx.Record([]byte("write"))
						return nil
					})
				}
				if err != nil {
					t.Errorf("job %d: got %v, want nil", i, err)
				}
			})
		}
		wg.Wait()
		if got, want := count(t, d, `SELECT CAST(SUM(entries) AS BIGINT) FROM journal`), int64(jobs/2*3); got != want {
			t.Errorf("records = %d, want %d", got, want)
		}
		if got := count(t, d, `SELECT COUNT(*) FROM journal`); got >= jobs {
			t.Errorf("journal rows = %d, want fewer than the %d jobs", got, jobs)
		}
		checkJournal(t, d)
	})
}

// checkJournal compares each row's number of entries with what is in it.
func checkJournal(t *testing.T, d *db.DB) {
	t.Helper()
	view(t, d, func(tx *db.Tx) error {
		return tx.Query(func(row db.Scanner) error {
			var id string
			var n int
			var b []byte
			if err := row.Scan(&id, &n, &b); err != nil {
				return err
			}
			records, err := db.SplitRecords(b)
			if err != nil || len(records) != n {
				t.Errorf("row %s: %d records, %v, want %d", id, len(records), err, n)
			}
			return nil
		}, `SELECT commit_id, entries, records FROM journal`)
	})
}

// Each bad job shares its commit with two good ones and a look at what it left.
func TestBadJobHarmsNoNeighbour(t *testing.T) {
	bad := map[string]func(tx *db.Tx) error{
		"refuses": func(*db.Tx) error { return errRefused },
		"panics":  func(*db.Tx) error { panic("boom") },
		"has a statement that fails": func(tx *db.Tx) error {
			_, err := tx.Exec(`INSERT INTO no_such_table VALUES (1)`)
			return err
		},
		"meets a duplicate": func(tx *db.Tx) error {
			_, err := tx.Exec(`INSERT INTO meta (key, value) VALUES ('least_reader', '1')`)
			if !db.IsUnique(err) {
				return fmt.Errorf("got %w, want a duplicate", err)
			}
			return err
		},
		"hides a statement that failed": func(tx *db.Tx) error {
			if _, err := tx.Exec(`INSERT INTO no_such_table VALUES (1)`); err == nil {
				return errors.New("the statement passed")
			}
			return nil
		},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for name, job := range bad {
			t.Run(name, func(t *testing.T) { testBadJob(t, d, job) })
		}
	})
}

func testBadJob(t *testing.T, d *db.DB, bad func(tx *db.Tx) error) {
	var before int64
	view(t, d, func(tx *db.Tx) error { before = tx.Revision(db.Directory); return nil })
	good := func(key string) func(tx *db.Tx) error {
		return func(tx *db.Tx) error {
			tx.Record([]byte(key))
			return tx.SetMeta(key, "stored")
		}
	}
	first, last, key := db.NewID(), db.NewID(), db.NewID()
	var seen int64
	var left string
	errs := together(t, d, good(first), func(tx *db.Tx) error {
		tx.Record([]byte("of the bad one"))
		if err := tx.SetMeta(key, "stored"); err != nil {
			return err
		}
		if err := tx.Raise(db.Directory); err != nil {
			return err
		}
		return bad(tx)
	}, func(tx *db.Tx) (err error) {
		seen = tx.Revision(db.Directory)
		left, err = tx.Meta(key)
		return err
	}, good(last))
	for i, err := range errs {
		if i != 1 && err != nil {
			t.Errorf("neighbour %d: got %v, want nil", i, err)
		}
	}
	if errs[1] == nil || errors.Is(errs[1], db.ErrUnavailable) {
		t.Errorf("the bad job: got %v, want an error of its own", errs[1])
	}
	if seen != before || left != "" {
		t.Errorf("the next job saw revision %d and %q, want %d and nothing", seen, left, before)
	}
	if meta(t, d, first) == "" || meta(t, d, last) == "" || meta(t, d, key) != "" {
		t.Error("want both neighbours stored and the bad job not")
	}
	view(t, d, func(tx *db.Tx) error {
		if got := tx.Revision(db.Directory); got != before {
			t.Errorf("revision = %d, want %d", got, before)
		}
		return nil
	})
}

// A job that is alone has no savepoint; what is promised is the same.
func TestBadJobAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		err := d.Update(t.Context(), []string{db.Directory}, func(tx *db.Tx) error {
			tx.Record([]byte("x"))
			tx.Raise(db.Directory)
			return tx.SetMeta("bad", "stored")
		})
		if err != nil {
			t.Fatal(err)
		}
		for name, job := range map[string]func(*db.Tx) error{
			"refuses": func(*db.Tx) error { return errRefused },
			"panics":  func(*db.Tx) error { panic("boom") },
			"hides a statement that failed": func(tx *db.Tx) error {
				tx.Exec(`INSERT INTO no_such_table VALUES (1)`)
				return nil
			},
		} {
			err := d.Update(t.Context(), []string{db.Directory}, func(tx *db.Tx) error {
				tx.Raise(db.Directory)
				if err := tx.SetMeta("bad", "again"); err != nil {
					return err
				}
				return job(tx)
			})
			if err == nil || errors.Is(err, db.ErrUnavailable) {
				t.Errorf("a job that %s: got %v, want an error of its own", name, err)
			}
			if got := meta(t, d, "bad"); got != "stored" {
				t.Errorf("after a job that %s: %q, want nothing changed", name, got)
			}
		}
		if got := count(t, d, `SELECT revision FROM revisions WHERE scope = 'directory'`); got != 1 {
			t.Errorf("revision = %d, want 1", got)
		}
	})
}

func TestCallerHangsUpBeforeItsJobBegins(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		release := hold(t, d, workers(d))
		ctx, cancel := context.WithCancel(t.Context())
		var ran atomic.Bool
		done := make(chan error, 1)
		go func() {
			done <- d.Update(ctx, nil, func(*db.Tx) error {
				ran.Store(true)
				return nil
			})
		}()
		eventually(t, "the job to queue up", func() bool { return d.Waiting() == 1 })
		cancel()
		release()
		if err := <-done; !errors.Is(err, db.ErrUnavailable) || !errors.Is(err, context.Canceled) || ran.Load() {
			t.Errorf("got %v, ran %v, want ErrUnavailable and a job that never ran", err, ran.Load())
		}
	})
}

func TestCallerHangsUpAfterItsJobBegan(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		err := d.Update(ctx, nil, func(tx *db.Tx) error {
			cancel()
			tx.Record([]byte("x"))
			return tx.SetMeta("k", "stored")
		})
		if err != nil || meta(t, d, "k") != "stored" {
			t.Errorf("got %v and %q, want nil and the row", err, meta(t, d, "k"))
		}
	})
}

func TestClose(t *testing.T) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		d, err := db.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		d.Bind(dbtest.Tenant, dbtest.Ring(t))
		release := hold(t, d, workers(d))
		queued := make(chan error, 1)
		go func() {
			queued <- d.Update(t.Context(), nil, func(tx *db.Tx) error { return tx.SetMeta("queued", "stored") })
		}()
		eventually(t, "the job to queue up", func() bool { return d.Waiting() == 1 })
		closed := make(chan error, 1)
		go func() { closed <- d.Close() }()
		late := make(chan error, 10000) // those that come before Close wait like the others
		eventually(t, "Close to refuse new jobs", func() bool {
			go func() { late <- d.Append(context.WithoutCancel(t.Context()), []byte("late")) }()
			select {
			case err := <-late:
				return errors.Is(err, db.ErrClosed)
			default:
				return false
			}
		})
		release()
		if err := <-queued; err != nil {
			t.Errorf("a job that waited when Close began: got %v, want nil", err)
		}
		if err := <-closed; err != nil {
			t.Errorf("Close: got %v, want nil", err)
		}
		if err := d.Append(t.Context(), []byte("x")); !errors.Is(err, db.ErrClosed) || !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("Append after Close: got %v, want ErrClosed and ErrUnavailable", err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("second Close: got %v, want nil", err)
		}
		if got := meta(t, dbtest.Open(t, o), "queued"); got != "stored" {
			t.Errorf("the job that waited left %q, want it stored", got)
		}
	})
}

// Two nodes raise the same scopes in opposite order without having locked them: the database
// breaks the deadlocks, and nobody hears of them.
func TestConflictsAreTriedAgain(t *testing.T) {
	o := dbtest.PostgreSQLOptions(t)
	o.URL += "&deadlock_timeout=20ms"
	nodes := []*db.DB{dbtest.Open(t, o), dbtest.Open(t, o)}
	scopes := []string{"a", "b"}
	const jobs = 10
	var runs atomic.Int64
	var wg sync.WaitGroup
	for n, d := range nodes {
		wg.Go(func() {
			for i := range jobs {
				err := d.Update(t.Context(), nil, func(tx *db.Tx) error {
					runs.Add(1)
					tx.Record([]byte{byte(n), byte(i)})
					for s := range scopes {
						if err := tx.Raise(scopes[(s+n)%2]); err != nil {
							return err
						}
						if _, err := tx.Exec(`SELECT pg_sleep(0.005)`); err != nil { // widens the window
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Errorf("node %d, job %d: got %v, want nil", n, i, err)
				}
			}
		})
	}
	wg.Wait()
	for _, s := range scopes {
		if got := count(t, nodes[0], `SELECT revision FROM revisions WHERE scope = $1`, s); got != 2*jobs {
			t.Errorf("revision of %s = %d, want %d", s, got, 2*jobs)
		}
	}
	if got := count(t, nodes[0], `SELECT COUNT(*) FROM journal`); got != 2*jobs {
		t.Errorf("journal rows = %d, want %d", got, 2*jobs)
	}
	if runs.Load() == 2*jobs {
		t.Error("no job met a conflict: the test proves nothing")
	}
}

// The other order of things: locked scopes are taken in one order, so that there is no deadlock
// to begin with.
func TestLocksAreTakenInOneOrder(t *testing.T) {
	o := dbtest.PostgreSQLOptions(t)
	nodes := []*db.DB{dbtest.Open(t, o), dbtest.Open(t, o)}
	var runs atomic.Int64
	var wg sync.WaitGroup
	for n, d := range nodes {
		for range 20 {
			wg.Go(func() {
				locks := []string{db.Authorisation, db.Directory}
				err := d.Update(t.Context(), []string{locks[n], locks[1-n]}, func(tx *db.Tx) error {
					runs.Add(1)
					if err := tx.Raise(locks[1-n]); err != nil {
						return err
					}
					return tx.Raise(locks[n])
				})
				if err != nil {
					t.Errorf("node %d: got %v, want nil", n, err)
				}
			})
		}
	}
	wg.Wait()
	if runs.Load() != 40 {
		t.Errorf("40 jobs ran %d times, want once each", runs.Load())
	}
	if got := count(t, nodes[1], `SELECT revision FROM revisions WHERE scope = 'authorisation'`); got != 40 {
		t.Errorf("revision = %d, want 40", got)
	}
}

func FuzzSplitRecords(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 'a', 0, 2, 'b', 'c'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		records, err := db.SplitRecords(b)
		if err != nil {
			return
		}
		n := 0
		for _, r := range records {
			n += len(r)
		}
		// Every length takes at least one byte, and nothing is left over.
		if n+len(records) > len(b) || n == 0 && len(records) == 0 && len(b) > 0 {
			t.Errorf("SplitRecords(%x) gave %d records of %d bytes", b, len(records), n)
		}
	})
}

// A job that refuses before it writes costs its neighbours nothing; what one has written goes, a lease
// too.
func TestRefusalWithoutSavepoint(t *testing.T) {
	for name, tt := range map[string]struct {
		refuse func(tx *db.Tx) error
		runs   int64 // of a neighbour
	}{
		"nothing written": {func(tx *db.Tx) error { _, err := tx.Meta("x"); return cmp.Or(err, errRefused) }, 1},
		"a lease taken": {func(tx *db.Tx) error {
			_, _, err := tx.Lease("taken in vain", "somebody", time.Minute)
			return cmp.Or(err, errRefused)
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				var runs atomic.Int64
				good := func(tx *db.Tx) error {
					runs.Add(1)
					return tx.SetMeta("x", "stored")
				}
				errs := together(t, d, good, tt.refuse)
				if errs[0] != nil || !errors.Is(errs[1], errRefused) {
					t.Errorf("got %v, want nil and %v", errs, errRefused)
				}
				if runs.Load() != tt.runs {
					t.Errorf("the neighbour ran %d times, want %d", runs.Load(), tt.runs)
				}
				if n := count(t, d, `SELECT COUNT(*) FROM leases`); n != 0 || meta(t, d, "x") != "stored" {
					t.Errorf("%d leases, x = %q: want none, and what the neighbour stored", n, meta(t, d, "x"))
				}
			})
		})
	}
}
