//go:build unix

package hostile

import (
	"bufio"
	"crypto/tls"
	"debug/buildinfo"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"strongroom/test/served"
)

// idlers is how many connections do nothing, maxResident what the server may need for them, and
// idleFor how long it lets them be: longer than a slow machine needs to open them all.
const (
	idlers      = 10000
	maxResident = 1 << 30 // bytes
	idleFor     = 60 * time.Second
)

// TestIdleConnections opens connections that do nothing: before the handshake, after it, after an
// answer, and after HTTP/2's greeting, by turns. Honest requests are answered meanwhile, the
// server's memory stays bounded, and it closes them all when their time is over.
func TestIdleConnections(t *testing.T) {
	n := allowedIdlers(t)
	timeout := fmt.Sprint(idleFor)
	d := start(t, "limits.idle_timeout="+timeout, "limits.header_timeout="+timeout, "log.level=warn")
	open := d.sockets()
	began := time.Now()
	connections := d.openIdle(n)
	defer closeAll(connections)
	t.Logf("%d connections after %v; memory %d MiB", n, time.Since(began).Round(time.Millisecond), d.resident()>>20)
	if now := d.sockets(); now >= 0 && now-open < n*9/10 {
		t.Errorf("the server has %d connections open, want about %d", now-open, n)
	}
	d.prompts(20, "beside idle connections")
	if got := d.resident(); got > maxResident && !hasRaceDetector(t) { // which needs memory of its own
		t.Errorf("the server has %d MiB of memory, want at most %d", got>>20, maxResident>>20)
	}
	d.awaitClosed(connections)
	d.prompts(5, "after idle connections")
	if now := d.sockets(); now >= 0 && now-open > 100 {
		t.Errorf("the server still has %d more files open than before", now-open)
	}
	d.unchanged("idle connections")
}

// allowedIdlers is how many connections this machine's limit of open files allows.
func allowedIdlers(t *testing.T) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max >= idlers+500 {
		return idlers // Go raises the soft limit by itself, here and in the server
	}
	t.Logf("this machine allows a process %d open files: fewer connections than %d", limit.Max, idlers)
	return int(limit.Max) * 3 / 4
}

// openIdle opens connections from several goroutines. Sessions are resumed, so that most of the
// work is the server's and not this test's.
func (d *deployment) openIdle(n int) []net.Conn {
	d.t.Helper()
	configs := map[string]*tls.Config{"http/1.1": d.trust("http/1.1"), "h2": d.trust("h2")}
	for _, c := range configs {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	}
	out, failed := make([]net.Conn, n), make(chan error, n)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := worker; i < n; i += 8 {
				c, err := d.idle(i%4, configs)
				if err != nil {
					failed <- fmt.Errorf("connection %d: %w", i, err)
					return
				}
				out[i] = c
			}
		})
	}
	all.Wait()
	close(failed)
	for err := range failed {
		d.t.Fatal(err)
	}
	return out
}

// idle opens a connection of one of four kinds, and leaves it alone.
func (d *deployment) idle(kind int, configs map[string]*tls.Config) (net.Conn, error) {
	raw, err := net.DialTimeout("tcp", d.Listen, patience)
	if err != nil || kind == 0 {
		return raw, err
	}
	protocol, say := "http/1.1", ""
	switch kind {
	case 2:
		say = request("GET /secrets")
	case 3:
		protocol, say = "h2", hello
	}
	raw.SetDeadline(time.Now().Add(patience))
	c := tls.Client(raw, configs[protocol])
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, say); err != nil {
		return nil, err
	}
	if kind == 2 {
		if a := next(bufio.NewReader(c), false); a.status != 401 {
			return nil, fmt.Errorf("got %d, want 401", a.status)
		}
	}
	return c, raw.SetDeadline(time.Time{})
}

// awaitClosed waits until the server has closed every connection.
func (d *deployment) awaitClosed(connections []net.Conn) {
	d.t.Helper()
	deadline := time.Now().Add(idleFor + patience)
	left := 0
	for _, c := range connections {
		c.SetReadDeadline(deadline)
		if _, err := io.Copy(io.Discard, c); isTimeout(err) {
			left++
		}
	}
	if left > 0 {
		d.t.Errorf("%d of %d idle connections were still open %v after the last was opened", left, len(connections), idleFor+patience)
	}
}

func closeAll(connections []net.Conn) {
	for _, c := range connections {
		c.Close()
	}
}

// sockets is how many sockets the server has open, or -1 where the system does not tell.
func (d *deployment) sockets() int {
	d.t.Helper()
	if runtime.GOOS != "linux" {
		return -1
	}
	folder := fmt.Sprintf("/proc/%d/fd", d.PID())
	entries, err := os.ReadDir(folder)
	if err != nil {
		d.t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(folder, e.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// resident is how much memory the server has, in bytes; 0 where the system does not tell.
func (d *deployment) resident() (bytes int) {
	d.t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID()))
	if err != nil {
		d.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(rest, &bytes); err != nil {
		d.t.Fatal(err)
	}
	return bytes << 10
}

// hasRaceDetector says whether the server was built with the race detector.
func hasRaceDetector(t *testing.T) bool {
	t.Helper()
	info, err := buildinfo.ReadFile(served.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// TestNoFilesLeft takes up all files that the server may open: its limit of connections lies above
// that of the system. Others wait until silent connections have been closed, and nothing breaks.
func TestNoFilesLeft(t *testing.T) {
	d := start(t, "limits.header_timeout=1s")
	d.Stop()
	d.Wrapper = []string{"/bin/sh", "-c", `ulimit -n 150 && exec "$@"`, "sh"}
	d.Start()
	connections := make([]net.Conn, 300)
	for i := range connections {
		connections[i] = d.connect(false)
	}
	status, _, body, err := d.Call("PUT", served.VaultHost, "/secrets/x_y?api-version=7.6", `{"value":"x"}`)
	t.Logf("without free files a request got %d, %v: %s", status, err, body)
	if status != 400 && status != 503 {
		t.Errorf("a request with a bad name got %d, %v; want 400, or 503 for want of files", status, err)
	}
	closeAll(connections)
	d.WaitReady()
	d.prompts(3, "after a want of files")
	d.unchanged("a want of files")
}
