package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"strongroom/internal/envelope"
)

// A Tx is one transaction. It is used by one goroutine at a time and only until the function
// that received it returns.
//
// Its statements run under the transaction's own context, not the caller's: a caller who hangs
// up must not break the connection under the jobs that share the commit.
type Tx struct {
	// Now is the transaction's time, UTC, in whole microseconds, read once: from the database's
	// clock on PostgreSQL, from the host's on SQLite. Nothing inside takes another.
	Now time.Time

	ctx      context.Context
	db       *DB
	tx       querier
	writable bool
	wrote    bool  // a statement that may have changed something, since it was last set to false
	broke    bool  // one that failed, which PostgreSQL lets nothing follow
	since    int64 // what the guard knew when the snapshot was taken

	revisions map[string]revision // as this transaction has them now
	base      map[string]revision // of those that it locked, as they were before
	changes   map[string][]change // of sets, in order
	stored    map[string]opened   // of those that it has written
	records   [][]byte
	next      int64               // position in the audit log of the next entry; 0 where that was not asked for
	indexes   map[indexKey]*index // older than those that all have
}

type querier interface {
	ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row
}

// ErrNoRows is returned by Row.Scan when a query found nothing.
var ErrNoRows = sql.ErrNoRows

// Exec runs a statement and returns the number of rows that it changed.
func (t *Tx) Exec(q string, args ...any) (int64, error) {
	if t.tx == nil {
		return 0, ErrNotRemembered
	}
	t.wrote = true
	res, err := t.tx.ExecContext(t.ctx, q, args...)
	if err != nil {
		return 0, t.failed(err)
	}
	return res.RowsAffected()
}

// Query runs a query of many rows and calls scan for each. scan must not use the transaction.
func (t *Tx) Query(scan func(row Scanner) error, q string, args ...any) error {
	if t.tx == nil {
		return ErrNotRemembered
	}
	rows, err := t.tx.QueryContext(t.ctx, q, args...)
	if err != nil {
		return t.failed(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return t.failed(rows.Err())
}

// failed puts ErrUnavailable into the chain of a reader's error that means it, whoever holds the
// transaction. For a writer the committer does so: it decides first whether to try again.
func (t *Tx) failed(err error) error {
	if t.writable {
		t.broke = t.broke || err != nil && !errors.Is(err, ErrNoRows)
		return err
	}
	return t.db.engine.wrap(err)
}

// QueryRow runs a query of at most one row.
func (t *Tx) QueryRow(q string, args ...any) Scanner {
	if t.tx == nil {
		return forgotten{}
	}
	return oneRow{t, t.tx.QueryRowContext(t.ctx, q, args...)}
}

// A oneRow is the row of QueryRow.
type oneRow struct {
	tx  *Tx
	row *sql.Row
}

func (r oneRow) Scan(dest ...any) error { return r.tx.failed(r.row.Scan(dest...)) }

// A Scanner is a row to read columns from.
type Scanner interface{ Scan(dest ...any) error }

// ReadOnly says whether the transaction shows only what is committed. What is derived from a
// transaction that is not may be undone, and must not be kept in a cache.
func (t *Tx) ReadOnly() bool { return !t.writable }

// Ring is the keyring that the database is bound to.
func (t *Tx) Ring() *envelope.Ring { return t.db.ring }

// Micros is the transaction's time as columns keep it.
func (t *Tx) Micros() int64 { return t.Now.UnixMicro() }

// Revision returns the revision of Authorisation, Directory or a scope that this transaction
// locked, as it sees it; zero if there is none.
func (t *Tx) Revision(scope string) int64 { return t.revisions[scope].number }

// RevisionOf returns the revision of any scope.
func (t *Tx) RevisionOf(scope string) (int64, error) {
	r, err := t.read(scope)
	return r.number, err
}

// Raise raises the revision of a scope. The scope should be among the locks of the Update, so
// that writers wait for each other there and not here.
func (t *Tx) Raise(scope string) error {
	if _, locked := t.base[scope]; !locked {
		if err := t.lock([]string{scope}); err != nil {
			return err
		}
	}
	r := t.revisions[scope]
	r.number++
	t.revisions[scope] = r
	return nil
}

// Record adds one record to the journal row of this commit. The bytes must not change later.
func (t *Tx) Record(b []byte) { t.records = append(t.records, b) }

// Lease takes or renews the named lease for holder until ttl from now. ok says whether holder
// has it; fence rises each time that the lease changes hands, so that a late holder is noticed. One
// that lasts longer than anybody takes it for is none of ours, and does not count.
func (t *Tx) Lease(name, holder string, ttl time.Duration) (fence int64, ok bool, err error) {
	const q = `
		INSERT INTO leases (name, holder, fence, expires_us) VALUES ($1, $2, 1, $3)
		ON CONFLICT (name) DO UPDATE
		SET fence = leases.fence + CASE WHEN leases.holder = $2 THEN 0 ELSE 1 END,
			holder = $2, expires_us = $3
		WHERE leases.holder = $2 OR leases.expires_us < $4 OR leases.expires_us > $5
		RETURNING fence`
	t.wrote = true
	expires := t.Now.Add(ttl)
	// The holder may have renewed it since this transaction began.
	err = t.QueryRow(q, name, holder, expires.UnixMicro(), t.Micros(), expires.Add(time.Minute).UnixMicro()).Scan(&fence)
	if errors.Is(err, ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("take the lease %q: %w", name, err)
	}
	return fence, true, nil
}

// Rest is the pause between two steps of long work, in which others have the database to themselves.
func Rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// EndLeases gives up all that holder has, so that another does not wait for their time.
func (t *Tx) EndLeases(holder string) error {
	if _, err := t.Exec(`UPDATE leases SET expires_us = 0 WHERE holder = $1`, holder); err != nil {
		return fmt.Errorf("give up the leases: %w", err)
	}
	return nil
}

// openMeta are the keys of the meta table that others than us may write: the migrations, and
// whoever sets the clock of a test.
var openMeta = map[string]bool{"least_reader": true, MetaClockOffset: true}

// Meta returns a value of the meta table, or "" when there is none. On a bound database it is
// proven to be one that SetMeta stored.
func (t *Tx) Meta(key string) (value string, err error) { return t.MetaBy(t.db.ring, key) }

// MetaBy is Meta on a database that is about to be bound to a keyring.
func (t *Tx) MetaBy(ring *envelope.Ring, key string) (value string, err error) {
	var mac []byte
	err = t.QueryRow(`SELECT value, row_mac FROM meta WHERE key = $1`, key).Scan(&value, &mac)
	if errors.Is(err, ErrNoRows) {
		return "", nil
	}
	if err == nil && ring != nil && !openMeta[key] {
		err = ring.CheckRow(mac, "meta", key, value)
	}
	if err != nil {
		return "", fmt.Errorf("read meta %q: %w", key, err)
	}
	return value, nil
}

// HasTestClock says whether the database's clock can be set off.
func (t *Tx) HasTestClock() bool { return t.db.testClock }

const storeMeta = `
	INSERT INTO meta (key, value, row_mac) VALUES ($1, $2, $3)
	ON CONFLICT (key) DO UPDATE SET value = $2, row_mac = $3`

// SetMeta stores a value in the meta table.
func (t *Tx) SetMeta(key, value string) error {
	if _, err := t.Exec(storeMeta, key, value, t.db.ring.RowMAC("meta", key, value)); err != nil {
		return fmt.Errorf("store meta %q: %w", key, err)
	}
	return nil
}

// ProveMeta proves all rows of the meta table that are ours alone to write.
func (t *Tx) ProveMeta() error {
	var keys []string
	err := t.Query(func(row Scanner) error {
		var key string
		err := row.Scan(&key)
		keys = append(keys, key)
		return err
	}, `SELECT key FROM meta ORDER BY key`)
	for i := 0; err == nil && i < len(keys); i++ {
		_, err = t.Meta(keys[i])
	}
	return err
}

// IsUnique says whether err is the database's refusal of a duplicate key.
func IsUnique(err error) bool { return isUniqueSQLite(err) || isUniquePostgreSQL(err) }

// View runs fn in a read-only transaction over one snapshot, taken after View was called.
func (d *DB) View(ctx context.Context, fn func(*Tx) error) error {
	tx, done, err := d.BeginView(ctx)
	if err != nil {
		return err
	}
	defer done()
	return fn(tx)
}

// BeginView begins a read-only transaction that the caller ends with done. It is for the
// pipeline, where deciding and reading share one snapshot; others use View.
func (d *DB) BeginView(ctx context.Context) (tx *Tx, done func(), err error) {
	since := d.guard.now()
	stx, err := d.reads.BeginTx(ctx, &sql.TxOptions{Isolation: d.engine.readIsolation, ReadOnly: d.engine.readOnly})
	if err != nil {
		return nil, nil, d.engine.wrap(fmt.Errorf("begin to read: %w", err))
	}
	tx = d.newTx(ctx, within(stx, d.engine.readStatements), since)
	if err := d.open(tx, nil); err != nil {
		stx.Rollback()
		return nil, nil, d.engine.wrap(err)
	}
	return tx, func() { stx.Rollback() }, nil
}

func (d *DB) newTx(ctx context.Context, stx querier, since int64) *Tx {
	return &Tx{
		ctx: ctx, db: d, tx: stx, since: since,
		revisions: map[string]revision{}, base: map[string]revision{}, changes: map[string][]change{},
		stored: map[string]opened{},
	}
}

// open reads the transaction's time and revisions, and locks the scopes of a write.
func (d *DB) open(tx *Tx, locks []string) error {
	if d.ring != nil { // else only what init wrote openly can be read: see Bind
		rest := slices.DeleteFunc([]string{Authorisation, Directory}, func(s string) bool { return slices.Contains(locks, s) })
		if err := d.openRevisions(tx, locks, rest); err != nil {
			return err
		}
	}
	return d.readTime(tx)
}

// openRevisions locks some revisions and reads others.
func (d *DB) openRevisions(tx *Tx, locks, rest []string) error {
	if d.engine.lockSuffix == "" { // a writer has locked everything
		if err := tx.readRevisions(slices.Concat(locks, rest), ""); err != nil {
			return err
		}
		return tx.hold(locks)
	}
	if err := tx.lock(locks); err != nil {
		return err
	}
	return tx.readRevisions(rest, "")
}

// readTime sets the transaction's time. The offset row is looked at only where the database was
// made with a test clock.
func (d *DB) readTime(tx *Tx) error {
	now := time.Now().UnixMicro()
	if d.engine.clock != "" {
		if err := tx.QueryRow(d.engine.clock).Scan(&now); err != nil {
			return fmt.Errorf("read the clock: %w", err)
		}
	}
	if d.testClock {
		text, err := tx.Meta(MetaClockOffset)
		if err != nil {
			return err
		}
		if offset, err := strconv.ParseInt(text, 10, 64); err == nil {
			now += offset
		}
	}
	tx.Now = time.UnixMicro(now).UTC()
	return nil
}
