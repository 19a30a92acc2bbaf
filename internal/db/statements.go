package db

import (
	"context"
	"database/sql"
	"sync"
)

// maxStatements bounds the prepared statements of a pool; the code has fewer texts than that.
const maxStatements = 500

// statements keeps a pool's statements prepared: to parse a text again costs SQLite more than to run
// it. pgx does the same by itself.
type statements struct {
	pool *sql.DB
	mu   sync.Mutex
	byQ  map[string]*sql.Stmt
}

// get returns the statement of a text, or nil where there is room for no more.
func (s *statements) get(ctx context.Context, q string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.byQ[q]; st != nil || len(s.byQ) >= maxStatements {
		return st, nil
	}
	st, err := s.pool.PrepareContext(ctx, q)
	if err != nil {
		return nil, err
	}
	s.byQ[q] = st
	return st, nil
}

// A prepared transaction runs statements of its pool.
type prepared struct {
	*sql.Tx
	from *statements
}

func (d *DB) prepared(tx *sql.Tx, from *statements) querier {
	if from == nil {
		return tx
	}
	return prepared{tx, from}
}

func (p prepared) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	st, err := p.from.get(ctx, q)
	if err != nil || st == nil {
		return p.Tx.ExecContext(ctx, q, args...) // which has the better words for a fault
	}
	return p.Tx.StmtContext(ctx, st).ExecContext(ctx, args...)
}

func (p prepared) QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	st, err := p.from.get(ctx, q)
	if err != nil || st == nil {
		return p.Tx.QueryContext(ctx, q, args...)
	}
	return p.Tx.StmtContext(ctx, st).QueryContext(ctx, args...)
}

func (p prepared) QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row {
	st, err := p.from.get(ctx, q)
	if err != nil || st == nil {
		return p.Tx.QueryRowContext(ctx, q, args...)
	}
	return p.Tx.StmtContext(ctx, st).QueryRowContext(ctx, args...)
}

// A loose statement is a transaction of its own.
type loose struct {
	pool *sql.DB
	from *statements // may be nil
}

func (l loose) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	if st := l.prepared(ctx, q); st != nil {
		return st.ExecContext(ctx, args...)
	}
	return l.pool.ExecContext(ctx, q, args...)
}

func (l loose) QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	if st := l.prepared(ctx, q); st != nil {
		return st.QueryContext(ctx, args...)
	}
	return l.pool.QueryContext(ctx, q, args...)
}

func (l loose) QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row {
	if st := l.prepared(ctx, q); st != nil {
		return st.QueryRowContext(ctx, args...)
	}
	return l.pool.QueryRowContext(ctx, q, args...)
}

func (l loose) prepared(ctx context.Context, q string) *sql.Stmt {
	if l.from == nil {
		return nil
	}
	st, err := l.from.get(ctx, q)
	if err != nil {
		return nil // which leaves the words to the statement itself
	}
	return st
}
