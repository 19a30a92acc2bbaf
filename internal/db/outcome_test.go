package db_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
)

// A cutter stands between us and PostgreSQL and sees a COMMIT go by. Once armed it cuts the connection at
// the next one, so that nobody hears how the commit ended. Everything else passes.
type cutter struct {
	armed atomic.Bool
	// commit says what to do with the cut COMMIT: it is called after the client has lost its
	// connection, with that of the server, still open.
	commit func(server net.Conn, message []byte)
}

// newCutter returns the cutter and options that lead through it.
func newCutter(t *testing.T, o db.Options, commit func(server net.Conn, message []byte)) (*cutter, db.Options) {
	t.Helper()
	c := &cutter{commit: commit}
	o.URL = dbtest.NewProxy(t, o.URL, func(client, server net.Conn) dbtest.Passage { return cut{c, client, server} }, func() {})
	return c, o
}

// A cut is a connection through a cutter.
type cut struct {
	*cutter
	client, server net.Conn
}

var errCut = errors.New("cut")

func (c cut) ToServer(message []byte, _ bool) ([]byte, error) {
	if bytes.HasPrefix(message, []byte("Q")) && bytes.EqualFold(message[5:], []byte("commit\x00")) && c.armed.CompareAndSwap(true, false) {
		c.client.Close()
		c.commit(c.server, message)
		return nil, errCut
	}
	return message, nil
}

func (c cut) ToClient() {}

// awaitProbe waits until some connection waits for another's transaction: the probe does, if it
// asks while the commit in question is still open.
func awaitProbe(t *testing.T, o db.Options) {
	r := raw(t, o)
	eventually(t, "the probe to wait for the open transaction", func() bool {
		var n int
		err := r.QueryRow(`SELECT COUNT(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted`).Scan(&n)
		return err == nil && n > 0
	})
}

// Whatever becomes of a COMMIT whose answer is lost: nil means stored, an error means not stored,
// and nothing is stored twice.
func TestLostAnswerOfCommit(t *testing.T) {
	o := dbtest.PostgreSQLOptions(t)
	dbtest.Open(t, o) // migrates
	for name, tt := range map[string]struct {
		stored bool
		commit func(server net.Conn, message []byte)
	}{
		"delivered":       {true, func(server net.Conn, message []byte) { server.Write(message) }},
		"never delivered": {false, func(net.Conn, []byte) {}},
		"delivered while we ask": {true, func(server net.Conn, message []byte) {
			awaitProbe(t, o)
			server.Write(message)
		}},
		"connection ends while we ask": {false, func(net.Conn, []byte) { awaitProbe(t, o) }},
	} {
		t.Run(name, func(t *testing.T) {
			c, through := newCutter(t, o, tt.commit)
			d := dbtest.Open(t, through)
			testLostAnswer(t, d, c, tt.stored)
		})
	}
}

func testLostAnswer(t *testing.T, d *db.DB, c *cutter, stored bool) {
	scope := "test/" + db.NewID()
	runs := 0
	c.armed.Store(true)
	err := d.Update(t.Context(), []string{db.Directory}, func(tx *db.Tx) error {
		runs++
		tx.Record([]byte(scope))
		err := tx.Raise(scope)
		return err
	})
	if c.armed.Load() {
		t.Fatal("no COMMIT came by")
	}
	want := int64(0)
	if stored {
		want = 1
	}
	got := count(t, d, `SELECT COALESCE(SUM(revision), 0) FROM revisions WHERE scope = $1`, scope)
	if got != want || runs != 1 {
		t.Errorf("stored %d times in %d runs, want %d in 1", got, runs, want)
	}
	if (err == nil) != stored || err != nil && !errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrUnknownOutcome) {
		t.Errorf("Update = %v where stored is %v", err, stored)
	}
	if err := d.Append(t.Context(), []byte("afterwards")); err != nil {
		t.Errorf("the next record: got %v, want nil", err)
	}
}

// Without a journal row there is nothing to ask after: the caller is told that nobody knows.
func TestLostAnswerWithoutRecord(t *testing.T) {
	o := dbtest.PostgreSQLOptions(t)
	c, through := newCutter(t, o, func(net.Conn, []byte) {})
	d := dbtest.Open(t, through)
	c.armed.Store(true)
	err := d.Update(t.Context(), nil, func(tx *db.Tx) error { return tx.SetMeta("k", "v") })
	if !errors.Is(err, db.ErrUnknownOutcome) || !errors.Is(err, db.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnknownOutcome", err)
	}
}

// A connection that the server ends in the middle of a job: nothing is stored, and the next job
// finds a new connection.
func TestServerEndsTheConnection(t *testing.T) {
	o := dbtest.PostgreSQLOptions(t)
	d, r := dbtest.Open(t, o), raw(t, o)
	err := d.Update(t.Context(), nil, func(tx *db.Tx) error {
		tx.Record([]byte("x"))
		if err := tx.SetMeta("k", "stored"); err != nil {
			return err
		}
		var pid int
		if err := tx.QueryRow(`SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			return err
		}
		exec(t, r, `SELECT pg_terminate_backend($1, 5000)`, pid)
		return tx.SetMeta("k", "again")
	})
	if !errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrUnknownOutcome) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if got := meta(t, d, "k"); got != "" {
		t.Errorf("stored %q, want nothing", got)
	}
	eventually(t, "a new connection", func() bool {
		return d.Update(t.Context(), nil, func(tx *db.Tx) error { return tx.SetMeta("k", "later") }) == nil
	})
}

// A snapshot that is lost while a caller of BeginView reads is as unavailable as one of View.
func TestServerEndsTheConnectionOfASnapshot(t *testing.T) {
	const end = `SELECT pg_terminate_backend(pg_backend_pid())`
	nothing := func(row db.Scanner) error { return row.Scan(new(bool)) }
	for name, read := range map[string]func(tx *db.Tx) error{
		"rows":      func(tx *db.Tx) error { return tx.Query(nothing, end) },
		"a row":     func(tx *db.Tx) error { return tx.QueryRow(end).Scan(new(bool)) },
		"no row":    func(tx *db.Tx) error { _, err := tx.Exec(end); return err },
		"revisions": func(tx *db.Tx) error { tx.Exec(end); _, err := tx.RevisionOf("vault:none"); return err },
	} {
		d := dbtest.Open(t, dbtest.PostgreSQLOptions(t))
		tx, done, err := d.BeginView(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := read(tx); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("%s of a connection that the server ends: %v, want %v", name, err, db.ErrUnavailable)
		}
		done()
	}
}

func TestServerStopsAndComesBack(t *testing.T) {
	server, err := dbtest.StartServer()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	if err := server.CreateDatabase("strongroom"); err != nil {
		t.Fatal(err)
	}
	d := dbtest.Open(t, db.Options{Engine: db.PostgreSQL, URL: server.URL("strongroom"), Create: true})
	update(t, d, func(tx *db.Tx) error { return tx.SetMeta("k", "before") })

	server.Kill()
	for name, try := range map[string]func(ctx context.Context) error{
		"View":   func(ctx context.Context) error { return d.View(ctx, func(*db.Tx) error { return nil }) },
		"Update": func(ctx context.Context) error { return d.Update(ctx, nil, func(*db.Tx) error { return nil }) },
		"Append": func(ctx context.Context) error { return d.Append(ctx, []byte("x")) },
		"Ping":   d.Ping,
	} {
		began := time.Now()
		if err := try(t.Context()); !errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrUnknownOutcome) {
			t.Errorf("%s without a server: got %v, want ErrUnavailable", name, err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s without a server took %s, want at most ten seconds", name, took)
		}
	}

	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "writes to work again", func() bool { return d.Append(t.Context(), []byte("x")) == nil })
	eventually(t, "reads to work again", func() bool { return d.Ping(t.Context()) == nil })
	if got := meta(t, d, "k"); got != "before" {
		t.Errorf("value = %q, want it kept", got)
	}
}

// A full disk refuses writes and nothing else, and is over when there is room again. A limit of
// pages fails as a full disk does.
func TestDiskFull(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLiteOptions(t))
	limit := func(pages string) {
		if err := d.LimitPages(t.Context(), pages); err != nil {
			t.Fatal(err)
		}
	}
	update(t, d, func(tx *db.Tx) error { return tx.SetMeta("k", "before") })
	limit("1")
	big := bytes.Repeat([]byte("x"), 1<<20)
	for name, try := range map[string]func() error{
		"Append": func() error { return d.Append(t.Context(), big) },
		"Update": func() error {
			return d.Update(t.Context(), nil, func(tx *db.Tx) error {
				if err := tx.SetMeta("k", "half"); err != nil {
					return err
				}
				return tx.SetMeta("big", string(big))
			})
		},
	} {
		if err := try(); !errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrUnknownOutcome) {
			t.Errorf("%s on a full disk: got %v, want ErrUnavailable", name, err)
		}
	}
	if got := meta(t, d, "k"); got != "before" {
		t.Errorf("read on a full disk: %q, want what was there", got)
	}
	limit("1000000")
	if err := d.Append(t.Context(), big); err != nil {
		t.Errorf("with room again: got %v, want nil", err)
	}
	checkJournal(t, d)
}
