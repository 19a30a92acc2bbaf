package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

// An engine holds all that differs between the two databases. Nothing outside this package
// asks which one it is.
type engine struct {
	name                            Engine
	reads, writes                   *sql.DB
	alone                           bool        // this process is the only one that writes
	turn                            *sync.Mutex // held by a commit and by a fold that cuts the log; nil where there is none
	readStatements, writeStatements *statements // nil where the driver keeps them
	lanes                           int
	workers                         int
	readIsolation                   sql.IsolationLevel
	readOnly                        bool
	lockSuffix                      string // appended to the query that locks revision rows
	clock                           string // the query for the time; "" means the host's clock
	classify                        func(error) failure
	afterCommit                     func() // called by the committer between two commits
	beforeClose                     func() error
	release                         func() error
	background                      []func(stop <-chan struct{})
}

// A failure is what a driver's error means for the caller.
type failure int

const (
	other       failure = iota // not the database's doing, or beyond repair
	conflict                   // another transaction was in the way: try again
	unreachable                // no connection, no write access
	full                       // no space on the disk: for certain nothing was stored
)

func openEngine(o Options) (engine, error) {
	switch o.Engine {
	case SQLite:
		return openSQLite(o)
	case PostgreSQL:
		return openPostgreSQL(o)
	}
	return engine{}, fmt.Errorf("database engine %q: want %q or %q", o.Engine, SQLite, PostgreSQL)
}

func (e *engine) isConflict(err error) bool {
	return err != nil && !errors.Is(err, ErrUnavailable) && (errors.Is(err, errMoved) || e.classify(err) == conflict)
}

func (e *engine) isUnavailable(err error) bool {
	return err != nil && (e.classify(err) == unreachable || e.isFull(err))
}

func (e *engine) isFull(err error) bool { return err != nil && e.classify(err) == full }

// wrap puts ErrUnavailable, and ErrNoSpace, into the chain of a driver's error that means it.
func (e *engine) wrap(err error) error {
	switch {
	case e.isFull(err) && !errors.Is(err, ErrNoSpace):
		return fmt.Errorf("%w: %w: %w", ErrUnavailable, ErrNoSpace, err)
	case err == nil || errors.Is(err, ErrUnavailable) || e.classify(err) == other:
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// enter waits until no other writer, and nobody who cuts the log, is at work.
func (e *engine) enter() (leave func()) {
	if e.turn == nil {
		return func() {}
	}
	e.turn.Lock()
	return e.turn.Unlock
}

// batchContext is that of a batch's statements. The file of SQLite is on this machine and has one
// writer: nothing there waits without an end that a context could give it, and to watch one costs the
// driver a goroutine for each statement.
func (e *engine) batchContext() (context.Context, context.CancelFunc) {
	if e.alone {
		return context.Background(), func() {}
	}
	return context.WithTimeout(context.Background(), batchTimeout)
}
