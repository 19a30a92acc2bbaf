package db_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // raw connections beside the one under test
	_ "modernc.org/sqlite"

	"strongroom/internal/db"
)

// eventually polls until ok says so, and fails the test after ten seconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("waited ten seconds for %s", what)
		case <-tick.C:
		}
	}
}

func update(t testing.TB, d *db.DB, fn func(*db.Tx) error) {
	t.Helper()
	if err := d.Update(t.Context(), nil, fn); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, d *db.DB, fn func(*db.Tx) error) {
	t.Helper()
	if err := d.View(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func meta(t testing.TB, d *db.DB, key string) (value string) {
	t.Helper()
	view(t, d, func(tx *db.Tx) (err error) {
		value, err = tx.Meta(key)
		return err
	})
	return value
}

// count runs a query of one number.
func count(t testing.TB, d *db.DB, q string, args ...any) (n int64) {
	t.Helper()
	view(t, d, func(tx *db.Tx) error { return tx.QueryRow(q, args...).Scan(&n) })
	return n
}

// raw opens the database by its driver alone.
func raw(t testing.TB, o db.Options) *sql.DB {
	t.Helper()
	driver, source := "sqlite", o.Path
	if o.Engine == db.PostgreSQL {
		driver, source = "pgx", o.URL
	}
	d, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func exec(t testing.TB, d *sql.DB, q string, args ...any) {
	t.Helper()
	if _, err := d.ExecContext(t.Context(), q, args...); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
}

// hold occupies workers of the lane for updates with jobs that end when release is called. It
// returns when they have all begun.
func hold(t testing.TB, d *db.DB, workers int) (release func()) {
	t.Helper()
	begun, end := make(chan struct{}), make(chan struct{})
	ended := make(chan error, workers)
	for range workers {
		go func() {
			ended <- d.Update(context.WithoutCancel(t.Context()), nil, func(*db.Tx) error {
				begun <- struct{}{}
				<-end
				return nil
			})
		}()
		<-begun // one at a time, so that no worker gathers two
	}
	return func() {
		close(end)
		for range workers {
			if err := <-ended; err != nil {
				t.Errorf("holding job: got %v, want nil", err)
			}
		}
	}
}

// workers is how many commits can be under way at once in the lane for updates.
func workers(d *db.DB) int {
	if d.Engine() == db.PostgreSQL {
		return 2
	}
	return 1
}

// together runs jobs so that they share one commit, and returns their outcomes. All workers are
// held while the jobs queue up; then one of them is let go.
func together(t testing.TB, d *db.DB, jobs ...func(*db.Tx) error) []error {
	t.Helper()
	freeLast := hold(t, d, 1)
	freeRest := func() {}
	if n := workers(d) - 1; n > 0 {
		freeRest = hold(t, d, n)
	}
	type outcome struct {
		i   int
		err error
	}
	done := make(chan outcome)
	for i, job := range jobs {
		go func() { done <- outcome{i, d.Update(context.WithoutCancel(t.Context()), nil, job)} }()
		eventually(t, "a job to queue up", func() bool { return d.Waiting() == i+1 })
	}
	freeLast()
	out := make([]error, len(jobs))
	for range jobs {
		o := <-done
		out[o.i] = o.err
	}
	freeRest()
	return out
}
