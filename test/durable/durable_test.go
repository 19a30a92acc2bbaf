//go:build linux

// Package durable proves with strace that no answer to a write or an audited read leaves before
// the sync of the disk that covers it.
package durable

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// requests is how many writes, and how many reads, are watched on each engine.
const requests = 25

var traced = []string{"-f", "-qq", "-ttt", "-T", "-s", "400", "-e", "trace=read,write,fsync,fdatasync"}

func TestAnswersFollowTheSyncSQLite(t *testing.T) {
	s := served.New(t, "")
	trace := filepath.Join(s.Dir, "trace")
	s.Wrapper = append(append([]string{"strace"}, traced...), "-o", trace)
	s.Start()
	ask(t, s)
	s.Stop()
	events := parse(t, trace)
	check(t, events, events)
}

func TestAnswersFollowTheSyncPostgreSQL(t *testing.T) {
	pg, err := dbtest.StartServer()
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Stop()
	if err := pg.CreateDatabase("durable"); err != nil {
		t.Fatal(err)
	}
	// The database server syncs: in the processes that it forks from now on, and in those that it has
	// already, since its WAL writer may be quicker than the session whose commit it is.
	databaseTrace := filepath.Join(t.TempDir(), "trace")
	children, err := exec.Command("pgrep", "-P", strconv.Itoa(pg.PID())).Output()
	if err != nil {
		t.Fatal(err)
	}
	processes := append([]string{strconv.Itoa(pg.PID())}, strings.Fields(string(children))...)
	arguments := append(append([]string{}, traced...), "-o", databaseTrace)
	for _, pid := range processes {
		arguments = append(arguments, "-p", pid)
	}
	attached := exec.Command("strace", arguments...)
	attached.Stderr = os.Stderr
	if err := attached.Start(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range processes {
		waitFor(t, "strace to attach", func() bool {
			status, err := os.ReadFile("/proc/" + pid + "/status")
			return errors.Is(err, os.ErrNotExist) || err == nil && !strings.Contains(string(status), "TracerPid:\t0\n")
		})
	}
	s := served.New(t, pg.URL("durable"))
	trace := filepath.Join(s.Dir, "trace")
	s.Wrapper = append(append([]string{"strace"}, traced...), "-o", trace)
	s.Start()
	ask(t, s)
	s.Stop()
	attached.Process.Signal(syscall.SIGINT) // detaches
	attached.Wait()
	check(t, parse(t, trace), parse(t, databaseTrace))
}

// ask sends requests one after the other, so that each has a sync of its own.
func ask(t *testing.T, s *served.Server) {
	t.Helper()
	for i := range requests {
		path := fmt.Sprintf("/secrets/durable-%d?api-version=7.6", i)
		for _, r := range [][2]string{{"PUT", `{"value":"x"}`}, {"GET", ""}} {
			if status, _, body, err := s.Call(r[0], served.VaultHost, path, r[1]); err != nil || status != 200 {
				t.Fatalf("%s: %d, %v: %s", r[0], status, err, body)
			}
		}
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 20 seconds for %s", what)
		}
		time.Sleep(10 * time.Millisecond) // a poll to a deadline
	}
}

// An event is a system call that ended.
type event struct {
	call string
	args string
	end  float64 // seconds since 1970
}

var (
	complete = regexp.MustCompile(`^\d+ +(\d+\.\d+) (\w+)\((.*) = -?\d+.*<(\d+\.\d+)>$`)
	resumed  = regexp.MustCompile(`^\d+ +(\d+\.\d+) <\.\.\. (\w+) resumed>(.*) = -?\d+.*<\d+\.\d+>$`)
	begun    = regexp.MustCompile(`^(\d+) +(\d+\.\d+) (write)\((.*) <unfinished \.\.\.>$`)
)

func parse(t *testing.T, file string) (out []event) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case complete.MatchString(line):
			m := complete.FindStringSubmatch(line)
			end := seconds(m[1]) + seconds(m[4])
			if m[2] == "write" {
				end = seconds(m[1]) // an answer counts from when its write began
			}
			out = append(out, event{m[2], m[3], end})
		case resumed.MatchString(line):
			m := resumed.FindStringSubmatch(line)
			out = append(out, event{m[2], m[3], seconds(m[1])})
		case begun.MatchString(line):
			m := begun.FindStringSubmatch(line)
			out = append(out, event{m[3], m[4], seconds(m[2])})
		}
	}
	return out
}

// isRequest matches the first line of a request; its path alone also comes from the database, when
// entries are numbered.
var isRequest = regexp.MustCompile(`/secrets/durable-\d+\S* HTTP/1\.1`)

func seconds(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return f
}

// check pairs each request with its answer and looks for a sync that ended in between.
func check(t *testing.T, server, syncs []event) {
	t.Helper()
	var asked float64
	pairs, covered := 0, 0
	for _, e := range server {
		switch {
		case e.call == "read" && isRequest.MatchString(e.args):
			asked = e.end
		case e.call == "write" && strings.Contains(e.args, "HTTP/1.1 200") && asked > 0:
			pairs++
			if hasSync(syncs, asked, e.end) {
				covered++
			} else {
				t.Errorf("answer %d left without a sync between its request and itself", pairs)
			}
			asked = 0
		}
	}
	if pairs != 2*requests {
		t.Errorf("found %d answers in the trace, want %d", pairs, 2*requests)
	}
	t.Logf("%d answers, %d after the sync that covers them", pairs, covered)
}

func hasSync(syncs []event, from, to float64) bool {
	for _, e := range syncs {
		if (e.call == "fsync" || e.call == "fdatasync") && e.end >= from && e.end <= to {
			return true
		}
	}
	return false
}
