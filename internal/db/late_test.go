package db_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
)

// A caller waits no longer than his time for a committer that is stuck: what was not begun is never
// done, and of what was begun he is told that nobody knows.
func TestNobodyWaitsForAStuckCommit(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLiteOptions(t)) // one worker
	begun, goOn := make(chan struct{}), make(chan struct{})
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	stuck := make(chan error, 1)
	deadline, end := context.WithTimeout(t.Context(), time.Second)
	defer end()
	go func() {
		stuck <- d.Update(deadline, nil, func(tx *db.Tx) error {
			close(begun)
			<-goOn
			return tx.SetMeta("begun", "stored")
		})
	}()
	<-begun
	err := d.Update(soon(), nil, func(tx *db.Tx) error { return tx.SetMeta("queued", "stored") })
	if !errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrUnknownOutcome) {
		t.Errorf("a queued Update = %v, want ErrUnavailable", err)
	}
	if err := <-stuck; !errors.Is(err, db.ErrUnknownOutcome) {
		t.Errorf("an Update that is under way = %v, want ErrUnknownOutcome", err)
	}
	close(goOn)
	if err := d.Append(t.Context(), []byte("x")); err != nil { // behind both
		t.Fatal(err)
	}
	if got := meta(t, d, "queued"); got != "" {
		t.Errorf("what its caller was told is not stored is: %q", got)
	}
	if got := meta(t, d, "begun"); got != "stored" {
		t.Errorf("what was under way is %q, want stored", got)
	}
}
