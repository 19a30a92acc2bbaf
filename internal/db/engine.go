package db

import (
	"database/sql"
	"errors"
	"fmt"
)

// An engine holds all that differs between the two databases. Nothing outside this package
// asks which one it is.
type engine struct {
	name                            Engine
	reads, writes                   *sql.DB
	alone                           bool        // this process is the only one that writes
	readStatements, writeStatements *statements // nil where the driver keeps them
	lanes                           int
	workers                         int
	readIsolation                   sql.IsolationLevel
	readOnly                        bool
	lockSuffix                      string // appended to the query that locks revision rows
	clock                           string // the query for the time; "" means the host's clock
	classify                        func(error) failure
	beforeClose                     func() error
	release                         func() error
	background                      []func(stop <-chan struct{})
}

// A failure is what a driver's error means for the caller.
type failure int

const (
	other       failure = iota // not the database's doing, or beyond repair
	conflict                   // another transaction was in the way: try again
	unreachable                // no connection, no space, no write access
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

func (e *engine) isUnavailable(err error) bool { return err != nil && e.classify(err) == unreachable }

// wrap puts ErrUnavailable into the chain of a driver's error that means it.
func (e *engine) wrap(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) || e.classify(err) == other {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
