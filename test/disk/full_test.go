//go:build linux

package disk

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"strongroom/test/served"
)

const (
	diskSize    = 64 << 20
	ballastSize = 2 << 20
	// perRead is what the manual says of the room that a read takes from the reserve.
	perRead = 1 << 10
	// patience bounds whatever has to come by itself.
	patience = time.Minute
)

// A deployment is a service on a small disk, with one secret.
type deployment struct {
	*served.Server
	*volume // of the data folder; nil with PostgreSQL
	*ledger
	t *testing.T
}

func deploy(t *testing.T) *deployment {
	t.Helper()
	s := served.NewService(t, "", fmt.Sprintf("database.ballast_size=%dMiB", ballastSize>>20))
	d := &deployment{s, newVolume(t, s, diskSize), newLedger(t, s), t}
	d.begin()
	d.wantWrite("at first")
	return d
}

// begin starts the server and makes the vault.
func (d *deployment) begin() {
	d.t.Helper()
	d.Init()
	d.Start()
	about := d.About()
	d.Must("PUT", about.Vault("dev")+"?api-version=2026-02-01", fmt.Sprintf(
		`{"location":%q,"properties":{"tenantId":%q,"sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true}}`, about.Region, about.Tenant))
}

func (d *deployment) wantWrite(when string) {
	d.t.Helper()
	if status := d.write("kept"); status != http.StatusOK {
		d.t.Fatalf("%s a write was answered with %d, want 200: %s", when, status, d.Log())
	}
}

// metric is the value of a figure of the server, "" if there is none.
func (d *deployment) metric(name string) string {
	d.t.Helper()
	for line := range strings.Lines(d.ReadMetrics()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// awaitRefusal writes until the reserve is begun, and wants each write to be refused from then on.
func (d *deployment) awaitRefusal() {
	d.t.Helper()
	if !served.Poll(patience, func() bool { return d.write("kept") == http.StatusServiceUnavailable }) {
		d.t.Fatalf("no write was refused on a full disk: %s", d.Log())
	}
	for range 20 {
		if status := d.write("kept"); status != http.StatusServiceUnavailable {
			d.t.Errorf("a write on a full disk was answered with %d, want 503", status)
		}
	}
	if got := d.metric("strongroom_ballast_bytes"); got != "0" {
		d.t.Errorf("strongroom_ballast_bytes = %s on a full disk, want 0", got)
	}
	if !strings.Contains(d.Log(), "changes are refused until there is room") {
		d.t.Errorf("no line of the log says what to do: %s", d.Log())
	}
}

// awaitRecovery makes room and wants all to work again, without a hand.
func (d *deployment) awaitRecovery() {
	d.t.Helper()
	d.free()
	if !served.Poll(patience, func() bool { return d.write("kept") == http.StatusOK }) {
		d.t.Fatalf("writes do not go on though there is room: %s", d.Log())
	}
	if got, want := d.metric("strongroom_ballast_bytes"), fmt.Sprint(float64(ballastSize)); got != want {
		d.t.Errorf("strongroom_ballast_bytes = %s with room again, want %s", got, want)
	}
	if status := d.read("kept"); status != http.StatusOK {
		d.t.Errorf("a read with room again was answered with %d, want 200", status)
	}
	d.check()
}

func (d *deployment) integrity() {
	d.t.Helper()
	out, err := exec.Command("sqlite3", filepath.Join(d.Data(), "strongroom.db"), "PRAGMA integrity_check").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ok" {
		d.t.Errorf("PRAGMA integrity_check: %v: %s", err, out)
	}
}

func refused(status int) bool { return status == http.StatusServiceUnavailable }

// TestDiskFillsUnderLoad fills the disk while clients read and write, and reads until the reserve is
// used up.
func TestDiskFillsUnderLoad(t *testing.T) {
	d := deploy(t)
	var wg sync.WaitGroup
	var stop atomic.Bool
	for i := range 4 {
		wg.Go(func() {
			for !stop.Load() {
				d.write(fmt.Sprintf("w%d", i))
				if status := d.read("kept"); status != http.StatusOK {
					t.Errorf("a read while the disk filled was answered with %d, want 200", status)
				}
			}
		})
	}
	served.Poll(patience, func() bool { return d.answered() > 100 })
	d.fill()
	d.awaitRefusal()
	stop.Store(true)
	wg.Wait()

	n := d.readUntil(20*ballastSize/perRead, refused)
	t.Logf("reads within a reserve of %d bytes: %d, %d bytes each", ballastSize, n, ballastSize/max(n, 1))
	if want := int64(ballastSize / perRead); n < want {
		t.Errorf("%d reads were answered within the reserve, want at least %d", n, want)
	}
	if status := d.read("kept"); status == http.StatusOK { // a rest may be left; it is small
		d.readUntil(200, refused)
	}
	if status := d.write("kept"); !refused(status) {
		t.Errorf("a write with nothing left was answered with %d, want 503", status)
	}
	d.awaitRecovery()
	d.Stop()
	d.integrity()
}

// TestDiskIsFullBeforeStart starts on a full disk: with the ballast, and, after a crash, with nothing
// left.
func TestDiskIsFullBeforeStart(t *testing.T) {
	d := deploy(t)
	d.Stop()
	d.fill()
	d.Start()
	if status := d.read("kept"); status != http.StatusOK {
		t.Errorf("a read after a start on a full disk was answered with %d, want 200", status)
	}
	d.awaitRefusal()
	d.readUntil(20*ballastSize/perRead, refused)
	d.Kill()
	d.fill()
	if err := d.TryStart(); err == nil {
		t.Log("the server starts with nothing left on its disk")
	} else {
		t.Logf("with nothing left: %v", err)
		d.free()
		d.Start()
		d.fill()
	}
	d.awaitRecovery()
	d.Stop()
	d.integrity()
}

// TestDiskFillsDuringStart fills the disk while the server starts, a little later each time.
func TestDiskFillsDuringStart(t *testing.T) {
	d := deploy(t)
	for round := range rounds(2) {
		d.Kill()
		filled := make(chan struct{})
		time.AfterFunc(time.Duration(round%8)*30*time.Millisecond, func() { d.fill(); close(filled) })
		err := d.TryStart()
		<-filled
		if err != nil {
			t.Logf("round %d: %v", round, err)
			d.free()
			d.Start()
			d.wantWrite("after a start that failed")
			continue
		}
		d.awaitRefusal()
		d.awaitRecovery()
	}
	d.Stop()
	d.integrity()
}

// TestDiskFillsWithABigLog lets the write-ahead log grow, by a reader from outside that holds on to an
// old state, fills the disk, and lets go: the log is folded into the database on a full disk, and the
// room that it had taken is enough for changes to go on.
func TestDiskFillsWithABigLog(t *testing.T) {
	d := deploy(t)
	release := d.holdLog()
	wal := filepath.Join(d.Data(), "strongroom.db-wal")
	size := func() int64 {
		st, err := os.Stat(wal)
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	for size() < 8<<20 {
		d.readUntil(500, refused)
	}
	d.fill()
	d.awaitRefusal()
	before := size()
	release()
	if !served.Poll(patience, func() bool { return d.read("kept") == http.StatusOK && d.write("kept") == http.StatusOK }) {
		t.Errorf("the log had %d bytes and has %d: its room is not given back: %s", before, size(), d.Log())
	}
	d.fill()
	d.awaitRefusal()
	d.awaitRecovery()
	d.Stop()
	d.integrity()
}

// holdLog begins a transaction in another process, which keeps the log from being begun anew.
func (d *deployment) holdLog() (release func()) {
	d.t.Helper()
	cmd := exec.Command("sqlite3", filepath.Join(d.Data(), "strongroom.db"))
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		d.t.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		d.t.Fatalf("sqlite3 (\"make deps\" installs it): %v", err)
	}
	release = sync.OnceFunc(func() {
		in.Close()
		cmd.Wait()
	})
	d.t.Cleanup(release)
	fmt.Fprintln(in, "BEGIN; SELECT COUNT(*) FROM journal;")
	if !bufio.NewScanner(out).Scan() {
		d.t.Fatal("sqlite3 does not read the database")
	}
	return release
}

// rounds is how often something is done; the long form does it ten times as often.
func rounds(n int) int {
	if served.IsLong() {
		return 10 * n
	}
	return n
}
