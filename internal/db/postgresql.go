package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// openPostgreSQL opens the pools. Reads and writes have a pool each, so that a crowd of readers
// can't keep a writer from its connection.
//
// Writes run at READ COMMITTED and lock the revision rows first; SERIALIZABLE would refuse the
// second writer of a vault instead of letting it wait. Reads run at REPEATABLE READ: what they
// read and the revisions they report come from one snapshot.
func openPostgreSQL(o Options) (engine, error) {
	cfg, err := pgx.ParseConfig(o.URL)
	if err != nil {
		// The parser's message may quote the connection string, and with it the password.
		return engine{}, errors.New("database url: want postgres://user@host:port/name")
	}
	cfg.ConnectTimeout = 5 * time.Second
	cfg.RuntimeParams["application_name"] = "strongroom"
	// Fixed here, so that nobody can put functions of his own before PostgreSQL's by a setting of the
	// database: pg_catalog comes first where it is not named.
	if cfg.RuntimeParams["search_path"] == "" {
		cfg.RuntimeParams["search_path"] = "public"
	}
	writes := pool(cfg, 6, stdlib.OptionAfterConnect(pinCommit))
	writes.SetConnMaxLifetime(pinnedFor)
	// In the clock's query both factors are numeric: for numeric times integer an operator of somebody
	// else would be taken.
	return engine{
		name: PostgreSQL, reads: pool(cfg, o.connections()), writes: writes, lanes: 2, workers: 2,
		readIsolation: sql.LevelRepeatableRead, readOnly: true,
		lockSuffix:  ` FOR UPDATE`,
		clock:       `SELECT CAST(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()) * CAST(1000000 AS NUMERIC) AS BIGINT)`,
		classify:    classifyPostgreSQL,
		afterCommit: func() {},
		beforeClose: func() error { return nil },
		release:     func() error { return nil },
	}, nil
}

func pool(cfg *pgx.ConnConfig, n int, options ...stdlib.OptionOpenDB) *sql.DB {
	d := stdlib.OpenDB(*cfg, options...)
	d.SetMaxOpenConns(n)
	d.SetMaxIdleConns(n)
	d.SetConnMaxIdleTime(5 * time.Minute)
	return d
}

// pinnedFor is how long a change of the setting may wait: what was made stronger counts after it.
const pinnedFor = 2 * time.Minute

// pinCommit keeps the setting by which a commit is durable as it is now, whatever becomes of it for the
// database or the server, and refuses a session in which it is off.
func pinCommit(ctx context.Context, c *pgx.Conn) error {
	const name = "synchronous_commit"
	var value string
	err := c.QueryRow(ctx, `SELECT pg_catalog.set_config($1, pg_catalog.current_setting($1), false)`, name).Scan(&value)
	if err == nil {
		err = refuseOff(name, value)
	}
	return err
}

func refuseOff(setting, value string) error {
	if value == "off" {
		return fmt.Errorf("postgresql setting %s is off: an answered write could be lost; set %s = on", setting, setting)
	}
	return nil
}

// checkDurable refuses a server that would answer a commit before it is on disk.
func checkDurable(ctx context.Context, d *DB) error {
	for _, s := range durable {
		var value string
		if err := d.writes.QueryRowContext(ctx, `SELECT pg_catalog.current_setting($1)`, s.name).Scan(&value); err != nil {
			return unavailable("read the server's settings", err)
		}
		if err := refuseOff(s.name, value); err != nil {
			return err
		}
	}
	return nil
}

// classifyPostgreSQL sorts by SQLSTATE (PostgreSQL manual, appendix A). An error of the network
// or of a driver that lost its connection has none.
func classifyPostgreSQL(err error) failure {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case pe.Code == "40001", pe.Code == "40P01", pe.Code == "55P03":
			return conflict
		case strings.HasPrefix(pe.Code, "08"), strings.HasPrefix(pe.Code, "53"),
			strings.HasPrefix(pe.Code, "57"), pe.Code == "25006", strings.HasPrefix(pe.Code, "58"):
			return unreachable
		}
		return other
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return unreachable
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return unreachable
	}
	for _, lost := range []error{
		driver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, sql.ErrConnDone,
		context.DeadlineExceeded, context.Canceled, syscall.EPIPE, syscall.ECONNRESET,
	} {
		if errors.Is(err, lost) {
			return unreachable
		}
	}
	if pgconn.Timeout(err) || pgconn.SafeToRetry(err) || strings.Contains(err.Error(), "conn closed") {
		return unreachable // pgx has no exported error for a connection that it closed itself
	}
	return other
}

func isUniquePostgreSQL(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.Code == "23505"
}

// isRolledBack says whether the server answered COMMIT with a rollback, as it does after a
// statement that failed: nothing is stored, and that is certain.
func isRolledBack(err error) bool { return errors.Is(err, pgx.ErrTxCommitRollback) }

// isRefused says whether the server itself answered a statement, COMMIT included, with an error:
// then it is certain that nothing of its transaction is stored. After a FATAL one, such as the end
// of the server in the middle of a commit, it is not.
func isRefused(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.SeverityUnlocalized == "ERROR"
}
