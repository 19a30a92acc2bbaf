//go:build linux

package disk

import (
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

// A clientele is some clients that write and read all the time.
type clientele struct {
	stop    atomic.Bool
	wg      sync.WaitGroup
	longest atomic.Int64 // nanoseconds until an answer
}

// start begins to ask. No request may go without an answer, or wait longer than most for one.
func (c *clientele) start(d *deployment, most time.Duration) {
	for i := range 8 {
		c.wg.Go(func() {
			for n := 0; !c.stop.Load(); n++ {
				began := time.Now()
				status := 0
				if i < 4 {
					status = d.write(fmt.Sprintf("w%d", i))
				} else {
					status = d.read(fmt.Sprintf("w%d", i-4))
				}
				took := time.Since(began)
				if c.longest.Store(max(c.longest.Load(), int64(took))); status == 0 || took > most {
					d.t.Errorf("a request had the answer %d after %s, want one within %s", status, took, most)
				}
				if status == http.StatusServiceUnavailable {
					time.Sleep(20 * time.Millisecond) // as a client that tries again
				}
			}
		})
	}
}

func (c *clientele) end() {
	c.stop.Store(true)
	c.wg.Wait()
}

func startPostgreSQL(t *testing.T) *dbtest.Server {
	t.Helper()
	pg, err := dbtest.StartServer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Stop)
	return pg
}

// deployPostgreSQL is deploy on a PostgreSQL.
func deployPostgreSQL(t *testing.T, pg *dbtest.Server, settings ...string) *deployment {
	t.Helper()
	if err := pg.CreateDatabase("disk"); err != nil {
		t.Fatal(err)
	}
	s := served.NewService(t, pg.URL("disk"), settings...)
	d := &deployment{Server: s, ledger: newLedger(t, s), t: t}
	d.begin()
	for i := range 4 {
		if status := d.write(fmt.Sprintf("w%d", i)); status != http.StatusOK {
			t.Fatalf("at first a write was answered with %d, want 200: %s", status, d.Log())
		}
	}
	return d
}

// awaitAll waits until writes and reads work again by themselves, and looks whether anything is lost.
func (d *deployment) awaitAll(what string) {
	d.t.Helper()
	began := time.Now()
	if !served.Poll(patience, func() bool { return d.write("kept") == http.StatusOK && d.read("w0") == http.StatusOK }) {
		d.t.Fatalf("%s: writes and reads do not go on: %s", what, d.Log())
	}
	d.t.Logf("%s: all works again after %s", what, time.Since(began).Round(time.Millisecond))
}

// slack is what a busy machine may add to a stated time.
const slack = 10 * time.Second

// TestDatabaseDoesNotAnswer stops PostgreSQL where it stands, for longer than a request may take.
func TestDatabaseDoesNotAnswer(t *testing.T) {
	timeout, stalls := 4*time.Second, []time.Duration{6 * time.Second}
	if served.IsLong() {
		timeout, stalls = time.Minute, []time.Duration{30 * time.Second, 90 * time.Second}
	}
	pg := startPostgreSQL(t)
	d := deployPostgreSQL(t, pg, "limits.request_timeout="+timeout.String())
	for _, stall := range stalls {
		had := d.count("503")
		var c clientele
		c.start(d, timeout+slack)
		pg.Pause()
		<-time.After(stall)
		if refused := d.count("503") - had; refused == 0 && stall > timeout {
			t.Errorf("the database did not answer for %s, and nothing was refused", stall)
		}
		pg.Resume()
		d.awaitAll(fmt.Sprintf("after %s without an answer", stall))
		c.end()
		t.Logf("the longest answer took %s", time.Duration(c.longest.Load()).Round(time.Millisecond))
		d.check()
	}
}

// TestDatabaseIsKilled kills PostgreSQL under load and starts it again.
func TestDatabaseIsKilled(t *testing.T) {
	pg := startPostgreSQL(t)
	d := deployPostgreSQL(t, pg)
	for round := range rounds(1) {
		had := d.count("503")
		var c clientele
		c.start(d, 20*time.Second+slack) // for so long is asked how a commit ended that was cut off; the others know at once
		pg.Kill()
		if !served.Poll(patience, func() bool { return d.count("503")-had > 20 }) {
			t.Errorf("round %d: without a database next to nothing is refused", round)
		}
		if err := pg.Start(); err != nil {
			t.Fatal(err)
		}
		d.awaitAll("after a restart of the database")
		c.end()
		t.Logf("the longest answer took %s", time.Duration(c.longest.Load()).Round(time.Millisecond))
	}
	d.check()
}

// TestDatabaseHasAFullDisk fills the disk of PostgreSQL. What that does is its own business, and it may
// have to be started again; ours is to refuse meanwhile and to go on afterwards.
func TestDatabaseHasAFullDisk(t *testing.T) {
	temporary := os.TempDir()
	dir, err := os.MkdirTemp("", "strongroom-disk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	v := mountVolume(t, dir, 192<<20, 0o755) // PostgreSQL does not run as root
	t.Setenv("TMPDIR", dir)                  // where the cluster is made
	pg := startPostgreSQL(t)
	t.Setenv("TMPDIR", temporary)
	d := deployPostgreSQL(t, pg)
	var c clientele
	c.start(d, time.Minute+slack)
	v.fill()
	if !served.Poll(patience, func() bool { return d.write("kept") == http.StatusServiceUnavailable }) {
		t.Errorf("no write was refused on a full disk")
	}
	v.free()
	served.Poll(patience, func() bool {
		if pg.HasEnded() {
			t.Log("PostgreSQL has ended, and is started again")
			if err := pg.Start(); err != nil {
				t.Fatal(err)
			}
		}
		return d.write("kept") == http.StatusOK
	})
	d.awaitAll("with room again")
	c.end()
	d.check()
}
