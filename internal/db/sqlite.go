package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
)

// SQLite's result codes that mean something here (https://www.sqlite.org/rescode.html); the low
// byte of an extended code is the primary one.
const (
	sqliteBusy          = 5
	sqliteLocked        = 6
	sqliteReadOnly      = 8
	sqliteIOErr         = 10
	sqliteFull          = 13
	sqliteIOErrShmSize  = 10 | 19<<8 // the index of the write-ahead log could not grow
	sqliteCantOpen      = 14
	sqliteNotADatabase  = 26
	sqliteUniquePrimary = 1555
	sqliteUnique        = 2067
)

// The write-ahead log is folded into the database after some commits, or some time. While somebody
// writes, the log does not begin anew by itself, so it grows: from restartPages on, writers wait until it
// is folded whole, and go on at its start. The file keeps its size: to make pages durable that are there
// already costs the disk half of what new ones do. Its room is given back where room is short, or where
// a large commit has made it larger than truncateBytes.
const (
	foldCommits   = 256
	foldAfter     = 10 * time.Second
	restartPages  = 4096 // of 4 KiB
	truncateBytes = 64 << 20
	truncateShort = 512 << 10
)

// openSQLite opens the file for one process: a lock file beside it names who holds it.
//
// synchronous=FULL syncs the write-ahead log at every commit, so that a commit that was answered
// survives the loss of power. Checkpoints run on a connection of their own: the committer never
// waits for one.
func openSQLite(o Options) (engine, error) {
	if !o.Create {
		_, err := os.Stat(o.Path)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrNone, err)
		}
		if err != nil {
			return engine{}, fmt.Errorf("open the database: %w", err)
		}
	}
	// The file is made here, so that its mode is ours: readable by nobody else.
	f, err := os.OpenFile(o.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return engine{}, fmt.Errorf("open the database: %w", err)
	}
	f.Close()
	path, err := realPath(o.Path)
	if err != nil {
		return engine{}, fmt.Errorf("open the database: %w", err)
	}
	release, err := lockFile(path + ".lock")
	if err != nil {
		return engine{}, err
	}
	const always = "busy_timeout(2000)&_pragma=foreign_keys(1)&_pragma=secure_delete(1)"
	writes := sqliteDB(path, always+"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=wal_autocheckpoint(0)&_txlock=immediate")
	writes.SetMaxOpenConns(2) // one writes, the other parses a text that is new while the first is at work
	// Half of what SQLite keeps of its own accord: the system has the pages as well, and there are many readers.
	reads := sqliteDB(path, always+"&_pragma=query_only(1)&_pragma=cache_size(-1000)&_txlock=deferred")
	reads.SetMaxOpenConns(o.connections())
	reads.SetMaxIdleConns(o.connections())
	// The busy timeout of the last one counts: nobody waits long for a reader of an old snapshot.
	checkpoints := sqliteDB(path, always+"&_pragma=busy_timeout(50)"+"&_pragma=synchronous(FULL)&_pragma=wal_autocheckpoint(0)")
	checkpoints.SetMaxOpenConns(1)
	// The first connection turns the file into WAL mode before a reader meets it.
	if err := writes.Ping(); err != nil {
		if se, ok := errors.AsType[*sqlite.Error](err); ok && se.Code()&0xff == sqliteReadOnly {
			err = &fs.PathError{Op: "write to", Path: filepath.Dir(path), Err: fs.ErrPermission}
		}
		err = errors.Join(err, writes.Close(), reads.Close(), checkpoints.Close(), release())
		return engine{}, fmt.Errorf("open the database %q: %w", o.Path, err)
	}
	log := &folder{pool: checkpoints, path: path, turn: &sync.Mutex{}, isShort: o.IsShort, folded: time.Now()}
	if log.isShort == nil {
		log.isShort = func() bool { return false }
	}
	return engine{
		name: SQLite, alone: true, turn: log.turn, reads: reads, writes: writes,
		readStatements:  newStatements(reads),
		writeStatements: newStatements(writes),
		lanes:           1, workers: 1,
		classify:    classifySQLite,
		afterCommit: log.afterCommit,
		release:     release,
		background:  []func(<-chan struct{}){log.run},
		beforeClose: func() error {
			checkpoints.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`) // the log alone would do as well
			return checkpoints.Close()
		},
	}, nil
}

// realPath is the place of the file itself, so that two names of it have one lock.
func realPath(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(real)
}

func sqliteDB(path, query string) *sql.DB {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "_pragma=" + query}
	d, _ := sql.Open("sqlite", u.String()) // the driver exists: sqlite is imported
	return d
}

// A folder folds the write-ahead log into the database when it has grown.
type folder struct {
	pool    *sql.DB
	path    string
	turn    *sync.Mutex // of the engine
	isShort func() bool
	commits atomic.Int64 // since the log was folded
	folded  time.Time    // when it was; the background's alone
}

func (f *folder) run(stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			n := f.commits.Load()
			if n >= foldCommits || n > 0 && time.Since(f.folded) >= foldAfter || f.isShort() {
				f.fold()
				f.folded = time.Now()
			}
		}
	}
}

// afterCommit folds at once where room is short: in a second the log could take all that is left.
func (f *folder) afterCommit() {
	f.commits.Add(1)
	if f.isShort() {
		f.fold()
	}
}

// fold waits neither for readers nor for the writer, unless the log must begin anew: then the writer
// waits for the rest that was written meanwhile. A failure is met again at the next time.
func (f *folder) fold() {
	f.commits.Store(0)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var busy, pages, done int
	err := f.pool.QueryRowContext(ctx, `PRAGMA wal_checkpoint(PASSIVE)`).Scan(&busy, &pages, &done)
	if st, statErr := os.Stat(f.path + "-wal"); statErr == nil && (st.Size() >= truncateBytes || f.isShort() && st.Size() >= truncateShort) {
		f.turn.Lock()
		defer f.turn.Unlock()
		f.pool.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
	} else if err == nil && pages >= restartPages {
		f.turn.Lock()
		defer f.turn.Unlock()
		f.pool.ExecContext(ctx, `PRAGMA wal_checkpoint(RESTART)`)
	}
}

func classifySQLite(err error) failure {
	if se, ok := errors.AsType[*sqlite.Error](err); ok {
		switch se.Code() & 0xff {
		case sqliteBusy, sqliteLocked:
			return conflict
		case sqliteFull:
			return full
		case sqliteIOErr:
			if se.Code() == sqliteIOErrShmSize {
				return full
			}
			return unreachable
		case sqliteReadOnly, sqliteCantOpen:
			return unreachable
		}
		return other
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return unreachable
	}
	return other
}

func isUniqueSQLite(err error) bool {
	se, ok := errors.AsType[*sqlite.Error](err)
	return ok && (se.Code() == sqliteUniquePrimary || se.Code() == sqliteUnique)
}
