package db

import (
	"context"
	"database/sql"
	"sync"
	"time"
)

const (
	// maxStatements bounds the prepared statements of a pool; the code has fewer texts than that.
	maxStatements = 500
	prepareWithin = 10 * time.Second
)

// statements keeps a pool's statements prepared: to parse a text again costs SQLite more than to run
// it. pgx does the same by itself, and has none of these.
type statements struct {
	pool *sql.DB
	wg   sync.WaitGroup // of those that prepare
	mu   sync.Mutex
	byQ  map[string]*sql.Stmt // guarded by mu; nil while a text is being prepared
	over bool                 // guarded by mu: nothing more is prepared
}

func newStatements(pool *sql.DB) *statements {
	return &statements{pool: pool, byQ: map[string]*sql.Stmt{}}
}

// get returns the statement of a text, or nil where there is none yet. To prepare one takes a
// connection, which a transaction must not wait for while it holds another: it is done aside, and
// the text is run as it is meanwhile.
func (s *statements) get(q string) *sql.Stmt {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st, known := s.byQ[q]
	if !known && len(s.byQ) < maxStatements && !s.over {
		s.byQ[q] = nil
		s.wg.Go(func() { s.prepare(q) })
	}
	return st
}

// end waits until nothing is being prepared any more: that may open a connection, and with it make
// files, behind the end of the pool. It comes after the pool was closed.
func (s *statements) end() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *statements) prepare(q string) {
	ctx, cancel := context.WithTimeout(context.Background(), prepareWithin)
	defer cancel()
	st, err := s.pool.PrepareContext(ctx, q)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		delete(s.byQ, q) // the next use tries again; a fault of the text is told by whoever runs it
		return
	}
	s.byQ[q] = st
}

// A runner runs statements, prepared ones where it can: within a transaction, or, without one, each
// as a transaction of its own.
type runner struct {
	querier
	tx   *sql.Tx     // may be nil
	from *statements // may be nil
}

func within(tx *sql.Tx, from *statements) runner { return runner{tx, tx, from} }

func (r runner) statement(ctx context.Context, q string) *sql.Stmt {
	st := r.from.get(q)
	if st != nil && r.tx != nil {
		st = r.tx.StmtContext(ctx, st)
	}
	return st
}

func (r runner) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	if st := r.statement(ctx, q); st != nil {
		return st.ExecContext(ctx, args...)
	}
	return r.querier.ExecContext(ctx, q, args...)
}

func (r runner) QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	if st := r.statement(ctx, q); st != nil {
		return st.QueryContext(ctx, args...)
	}
	return r.querier.QueryContext(ctx, q, args...)
}

func (r runner) QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row {
	if st := r.statement(ctx, q); st != nil {
		return st.QueryRowContext(ctx, args...)
	}
	return r.querier.QueryRowContext(ctx, q, args...)
}
