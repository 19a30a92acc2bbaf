package db

import (
	"context"
	"errors"
	"fmt"
	"time"

	"strongroom/internal/envelope"
)

// probeFor is how long an unknown outcome is asked after.
const probeFor = 15 * time.Second

// settle finds out how a COMMIT ended that was not answered with success. The journal row's id was chosen
// before, so the row tells. Looking alone would not do: the server may still be working on the
// commit. So the id is inserted once more: the insert waits for a commit under way, fails on
// the duplicate if it took place, and is rolled back if it did not.
func (d *DB) settle(id string, journaled bool, cause error) error {
	if isRefused(cause) {
		return unavailable("commit", cause)
	}
	if !journaled {
		return fmt.Errorf("%w: %w: commit: %w", ErrUnavailable, ErrUnknownOutcome, cause)
	}
	deadline := time.Now().Add(probeFor)
	for pause := 10 * time.Millisecond; time.Now().Before(deadline); pause = min(2*pause, time.Second) {
		stored, err := d.probe(id)
		if err == nil && stored {
			return nil
		}
		if err == nil {
			return unavailable("commit", cause)
		}
		time.Sleep(pause) // the database is coming back; to a deadline
	}
	return fmt.Errorf("%w: %w: commit: %w", ErrUnavailable, ErrUnknownOutcome, cause)
}

func (d *DB) probe(id string) (stored bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), probeFor/3)
	defer cancel()
	stx, err := d.writes.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer stx.Rollback()
	const q = `
		INSERT INTO journal (commit_id, tenant_id, committed_us, entries, records, row_mac)
		VALUES ($1, '', 0, 0, $2, $2)`
	_, err = stx.ExecContext(ctx, q, id, []byte{})
	if IsUnique(err) {
		stx.Rollback()
		return d.isStored(ctx, id)
	}
	return false, err
}

// isStored says whether the journal has the row of a commit.
func (d *DB) isStored(ctx context.Context, id string) (bool, error) {
	var n int
	err := d.writes.QueryRowContext(ctx, `SELECT COUNT(*) FROM journal WHERE commit_id = $1`, id).Scan(&n)
	return n == 1, err
}

// arrived is nil if the row of a commit is there in spite of a duplicate.
func (d *DB) arrived(ctx context.Context, id string, duplicate error) error {
	stored, err := d.isStored(ctx, id)
	if err == nil && stored {
		return nil
	}
	return errors.Join(keptOut(duplicate), err)
}

// keptOut is the error of a journal row that is refused as a duplicate, which it is by no rule of ours:
// its id is new.
func keptOut(err error) error {
	if !IsUnique(err) {
		return err
	}
	return fmt.Errorf("an index that is not ours refuses the entries: %w: %w", envelope.ErrTampered, err)
}

// unavailable marks an error after which certainly nothing was changed.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, doing, err)
}
