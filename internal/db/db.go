// Package db is the ground under everything that is stored: one SQL text for SQLite and
// PostgreSQL, transactions that carry their own time, and one way in for writes.
//
//	View    a read-only transaction over one snapshot
//	Update  a job for the committer: jobs that wait together share one commit, and one job's
//	        refusal undoes only that job
//	Append  records for the journal alone; many of them share one row and one commit
//
// An Update or Append returns nil only after the commit is durable. What a job hands to
// Tx.Record goes into the journal row of the same commit, so that a change and its audit
// entry exist together or not at all.
//
// Revisions answer "has anything changed?": every write raises the revision of the scope it
// changes, and the rows are locked in one order (authorisation, directory, vaults by id), so
// that two writers can't deadlock on them. With each revision stands a sealed digest of the rows
// that the scope covers: a row that was edited, inserted, deleted or brought back from yesterday
// by somebody else's hand is noticed when it is read (Tx.Check, Tx.Absent). The threat is a writer
// to the database who does not have our keys. What he can do is destroy; what he cannot is lie.
//
// Errors are of three kinds: a conflict is retried here and nowhere else; ErrUnavailable means
// that storage is out of reach and nothing was changed; all others are broken or are the
// caller's own. If the process dies, what a nil answer promised is on disk and nothing else
// is half there.
package db

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"strongroom/internal/envelope"
)

// An Engine is one of the two databases that Strongroom runs on.
type Engine string

// The engines.
const (
	SQLite     Engine = "sqlite"
	PostgreSQL Engine = "postgresql"
)

// Scopes of the revisions that exist from the first schema; each vault has one more.
const (
	// Authorisation covers role assignments, principals, groups, credentials.
	Authorisation = "authorisation"
	// Directory covers vault names and settings, resource groups and token signing keys.
	Directory = "directory"
	// Segments covers the ranges of the audit log that have left the database.
	Segments = "segments"
	// AuditLog covers the journal rows that are part of the log. The number of its members is the position
	// of its last entry, those that have left the database included.
	AuditLog = "audit"
)

// vaultPrefix begins the scopes of vaults.
const vaultPrefix = "vault/"

// Keys of the meta table that this package reads: the first makes the clock one that can be set
// off, for tests and demonstrations; the second says by how many microseconds.
const (
	MetaTestClock   = "test_clock"
	MetaClockOffset = "clock_offset_us"
)

// VaultRevision is the revision scope of one vault's contents.
func VaultRevision(vaultID string) string { return vaultPrefix + vaultID }

// ErrUnavailable is in the chain of an error when storage is out of reach: nothing was
// changed and the same call may succeed later. The one exception says so: ErrUnknownOutcome.
var ErrUnavailable = errors.New("database unavailable")

// ErrUnknownOutcome is in the chain, beside ErrUnavailable, when the connection broke during
// COMMIT and the database could not be asked afterwards whether the commit took place.
var ErrUnknownOutcome = errors.New("outcome of the commit is unknown")

// ErrNoSpace is in the chain, beside ErrUnavailable, when the disk is full.
var ErrNoSpace = errors.New("no space on the disk")

// ErrClosed is returned to jobs that arrive after Close.
var ErrClosed = errors.New("database is closed")

// Options say which database to open and how.
type Options struct {
	Engine      Engine
	Path        string // SQLite: the file
	URL         string // PostgreSQL: the connection string
	Connections int    // for reads; zero means 16
	Create      bool   // make the database where there is none, and run migrations
	// OnCommit is told of every commit, for metrics: the number of jobs and journal records in
	// it, how long it took, and whether it failed; one without records has stored nothing of callers. It
	// must not block. May be nil.
	OnCommit func(jobs, records int, took time.Duration, err error)
	// MakeRoom is called when a commit found the disk full. True means that there is room now that
	// was not there before: then the records of the commit are stored, and its changes are not. May be
	// nil. SQLite only.
	MakeRoom func() bool
	// IsShort says whether room is scarce: then the write-ahead log is kept small, though writes have
	// to wait for that. May be nil. SQLite only.
	IsShort func() bool
}

func (o Options) connections() int { return cmp.Or(o.Connections, 16) }

// A DB is an open database. It may be shared by goroutines.
type DB struct {
	engine    engine
	reads     *sql.DB
	writes    *sql.DB
	lanes     []*lane // the first takes jobs with locks, the last takes the rest; may be one
	testClock bool
	migrated  bool // by this process, or it had nothing to migrate
	onCommit  func(jobs, records int, took time.Duration, err error)
	makeRoom  func() bool
	closing   chan struct{} // closed when Close begins
	stopped   chan struct{} // closed when the last worker has ended
	once      sync.Once
	wg        sync.WaitGroup

	guard    *guard
	watchers []Watcher

	next int64 // of the next entry, see Tx.next; the only writer's committer's, 0 where it has to be looked up

	ring   *envelope.Ring // set once, by Bind
	tenant string         // stamped on journal rows
}

// Open opens the database, migrates it if asked to, and starts the committer. A database whose
// least_reader is above ReaderLevel was written by a newer release and is refused.
func Open(ctx context.Context, o Options) (*DB, error) { return open(ctx, o, o.Create, nil) }

// ErrNone is in the chain of an error when there is no database, or none of ours.
var ErrNone = errors.New("there is no database of Strongroom")

// OpenExisting opens and migrates a database that is there already, when look has seen it and has
// returned nil: until then no table is written to (a file of SQLite is locked). Only View can be used
// meanwhile, and it finds the schema of whichever release was here last.
func OpenExisting(ctx context.Context, o Options, look func(*DB) error) (*DB, error) {
	o.Create = false
	return open(ctx, o, true, func(d *DB) error {
		exists, err := hasOurs(ctx, d)
		if err == nil && !exists {
			err = ErrNone
		}
		if err == nil {
			err = d.findTestClock(ctx)
		}
		if err == nil {
			err = look(d)
		}
		return err
	})
}

// open is Open with a look at the database before anything is done to it.
func open(ctx context.Context, o Options, migrates bool, look func(*DB) error) (*DB, error) {
	if err := checkFile(ctx, o); err != nil {
		return nil, err
	}
	eng, err := openEngine(o)
	if err != nil {
		return nil, err
	}
	d := &DB{
		engine: eng, reads: eng.reads, writes: eng.writes,
		onCommit: o.OnCommit, makeRoom: o.MakeRoom, closing: make(chan struct{}), stopped: make(chan struct{}), guard: newGuard(),
	}
	if d.onCommit == nil {
		d.onCommit = func(int, int, time.Duration, error) {}
	}
	if d.makeRoom == nil {
		d.makeRoom = func() bool { return false }
	}
	if err := d.prepare(ctx, migrates, look); err != nil {
		d.closePools()
		return nil, err
	}
	d.start()
	return d, nil
}

// prepare looks, migrates, and reads what the committer needs to know.
func (d *DB) prepare(ctx context.Context, migrates bool, look func(*DB) error) error {
	if d.engine.name == PostgreSQL {
		if err := checkDurable(ctx, d); err != nil {
			return err
		}
	}
	if err := checkReader(ctx, d); err != nil {
		return err
	}
	if look != nil {
		if err := look(d); err != nil {
			return err
		}
	}
	if migrates {
		if err := migrate(ctx, d); err != nil {
			return err
		}
		d.migrated = true
	}
	if err := d.findTestClock(ctx); err != nil {
		return err
	}
	if d.engine.alone { // whoever held a lease is no more
		_, err := d.writes.ExecContext(ctx, `UPDATE leases SET expires_us = 0`)
		if err != nil && !d.engine.isFull(err) { // on a full disk they end in their own time
			return fmt.Errorf("end the leases of the last process: %w", d.engine.wrap(err))
		}
	}
	return nil
}

func (d *DB) findTestClock(ctx context.Context) error {
	var n int
	err := d.reads.QueryRowContext(ctx, `SELECT COUNT(*) FROM meta WHERE key = $1`, MetaTestClock).Scan(&n)
	if err != nil {
		return fmt.Errorf("read the meta table (is the database initialised?): %w", d.engine.wrap(err))
	}
	d.testClock = n > 0
	return nil
}

// Engine says which database this is.
func (d *DB) Engine() Engine { return d.engine.name }

// Bind gives the database the keys by which rows are proven, and the tenant that journal rows
// belong to. It is called once, before the first Update; before it, a View shows no revisions and
// proves nothing, which is enough to find out which keys are wanted.
func (d *DB) Bind(tenant string, ring *envelope.Ring) { d.tenant, d.ring = tenant, ring }

// Ping asks the database for a sign of life.
func (d *DB) Ping(ctx context.Context) error {
	var one int
	if err := d.reads.QueryRowContext(ctx, `SELECT 1`).Scan(&one); err != nil {
		return d.engine.wrap(fmt.Errorf("ping the database: %w", err))
	}
	return nil
}

// Waiting is the number of jobs and records that wait for a commit.
func (d *DB) Waiting() int {
	n := 0
	for _, l := range d.lanes {
		n += len(l.jobs)
	}
	return n
}

// Close lets the jobs under way finish, refuses new ones, and closes the database.
func (d *DB) Close() error {
	var err error
	d.once.Do(func() {
		close(d.closing)
		d.wg.Wait()
		close(d.stopped)
		err = d.closePools()
	})
	return err
}

func (d *DB) closePools() error {
	err := errors.Join(d.reads.Close(), d.engine.beforeClose(), d.writes.Close())
	d.engine.readStatements.end()
	d.engine.writeStatements.end()
	return errors.Join(err, d.engine.release())
}

// NewID returns 32 lower-case hex characters of randomness: the form of versions.
func NewID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])
}

// NewGUIDAt returns a GUID that rises with the time (RFC 9562, version 7), in whole milliseconds.
func NewGUIDAt(at time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(at.UnixMilli())<<16)
	rand.Read(b[6:])
	b[6], b[8] = b[6]&0x0f|0x70, b[8]&0x3f|0x80
	return spellGUID(b)
}

// FirstGUIDAt is the least that NewGUIDAt returns for a time.
func FirstGUIDAt(at time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(at.UnixMilli())<<16)
	return spellGUID(b)
}

// NewGUID returns a random GUID (RFC 9562, version 4) in lower case.
func NewGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return spellGUID(b)
}

func spellGUID(b [16]byte) string {
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
