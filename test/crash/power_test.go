//go:build linux

package crash

import (
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

	"strongroom/test/served"
)

// syncsOff makes SQLite leave it to the kernel when bytes reach the disk.
var syncsOff = seed{
	name: "synchronous=OFF", file: "internal/db/sqlite.go",
	old: `writes := sqliteDB(path, always+"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)`,
	new: `writes := sqliteDB(path, always+"&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)`,
}

// syncPerCheckpoint is one sync less: that of the log at a commit.
var syncPerCheckpoint = seed{
	name: "synchronous=NORMAL", file: "internal/db/sqlite.go",
	old: syncsOff.old, new: strings.Replace(syncsOff.new, "OFF", "NORMAL", 1),
}

// A power cut takes what no sync has brought to the disk. The server loses nothing by it; without
// its syncs, the same cut and the same judge find that it does.
func TestPowerCut(t *testing.T) {
	t.Run("the server as it is", func(t *testing.T) {
		if faults := powerCut(t, ""); len(faults) > 0 {
			t.Errorf("%d faults:%s", len(faults), describe(faults))
		}
	})
	for _, f := range []seed{syncsOff, syncPerCheckpoint} {
		if f.name == syncPerCheckpoint.name && !served.IsLong() {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			faults := powerCut(t, f.build(t))
			count := account{faults: map[string]int{}}
			if count.add(faults); count.faults[lost] == 0 {
				t.Errorf("the power cut lost nothing, or nobody has noticed; %d other faults:%s", len(faults), describe(faults))
			}
			t.Logf("found: %v", count.faults)
		})
	}
}

// powerCut runs a load on the server under strace, kills it, takes away what was not synced, and
// judges what the server as it is finds then.
func powerCut(t *testing.T, binary string) []fault {
	t.Helper()
	sc := newScene(t, nil, "")
	sc.s.Start()
	ground := newGround(t, sc)
	l := ground.newLoad(0)
	sc.s.Stop() // what is there so far is on the disk

	trace := filepath.Join(sc.s.Dir, "trace")
	sc.s.Path = binary
	sc.s.Wrapper = []string{"strace", "-f", "--seccomp-bpf", "-y", "-s", "0", "-qq", "-e", "signal=none", "-e", "trace=write,pwrite64,fsync,fdatasync,ftruncate", "-o", trace}
	sc.s.Start()
	l.start()
	if !served.Poll(2*time.Minute, func() bool { return l.acked.Load() >= 50 }) {
		t.Fatalf("%d changes were acknowledged within two minutes", l.acked.Load())
	}
	cutPower(t, sc.s.PID())
	l.end()
	sc.s.Kill() // of strace, which has ended
	unsynced := readTrace(t, trace)
	t.Logf("%d changes acknowledged; not synced: %s", l.acked.Load(), unsynced)
	unsynced.take(t)

	sc.s.Path, sc.s.Wrapper = "", nil
	sc.up()
	faults, err := l.check(ground.log)
	if err != nil {
		return append(faults, faultf(lost, "after the power cut nothing can be read: %v", err))
	}
	return append(faults, integrity(sc.s)...)
}

// cutPower kills the server that strace watches, and waits until strace has written all it saw.
func cutPower(t *testing.T, strace int) {
	t.Helper()
	children, err := exec.Command("pgrep", "-P", strconv.Itoa(strace)).Output()
	pid, errNumber := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil || errNumber != nil {
		t.Fatalf("strace has children %q, want one: %v", children, err)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	if !served.Poll(time.Minute, func() bool { return !isRunning(strace) }) {
		t.Fatal("strace has not ended within a minute")
	}
}

// A span is bytes of a file, from one offset to another.
type span struct{ from, to int64 }

// unsynced are the bytes of each file that were written and not synced since.
type unsynced map[string][]span

var (
	// A call on one line, or the two halves of one that another thread came between.
	call    = regexp.MustCompile(`^(\d+) +(\w+)\(\d+<([^>]+)>(.*)\) += (\d+)$`)
	begun   = regexp.MustCompile(`^(\d+) +(\w+)\(\d+<([^>]+)>(.*) <unfinished \.\.\.>$`)
	resumed = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (\d+)$`)
	offset  = regexp.MustCompile(`, (\d+)$`)
)

// readTrace follows writes and syncs. A sync covers what was written before it began, and counts
// when it has ended.
func readTrace(t *testing.T, name string) unsynced {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	out := unsynced{}
	type half struct {
		file, args string
		covers     int // how many spans of the file
	}
	open := map[string]half{} // by thread
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if m := call.FindStringSubmatch(line); m != nil {
			out.apply(t, m[2], m[3], m[4], m[5], len(out[m[3]]))
		} else if m := begun.FindStringSubmatch(line); m != nil {
			open[m[1]] = half{m[3], m[4], len(out[m[3]])}
		} else if m := resumed.FindStringSubmatch(line); m != nil {
			h := open[m[1]]
			out.apply(t, m[2], h.file, h.args+m[3], m[4], h.covers)
		}
	}
	return out
}

// apply takes one call into account. Only the database and its log count; its index in shared
// memory is made anew after a crash anyway.
func (u unsynced) apply(t *testing.T, name, file, args, result string, covers int) {
	if !strings.HasSuffix(file, ".db") && !strings.HasSuffix(file, ".db-wal") {
		return
	}
	switch name {
	case "fsync", "fdatasync":
		u[file] = u[file][covers:]
	case "pwrite64":
		m := offset.FindStringSubmatch(args)
		if m == nil {
			t.Fatalf("no offset in pwrite64(%s)", args)
		}
		from, err := strconv.ParseInt(m[1], 10, 64)
		length, err2 := strconv.ParseInt(result, 10, 64)
		if err != nil || err2 != nil {
			t.Fatalf("pwrite64(%s) = %s", args, result)
		}
		u[file] = append(u[file], span{from, from + length})
	case "write":
		t.Fatalf("the database file %s is written without an offset: this test does not follow that", file)
	}
}

func (u unsynced) String() string {
	var out []string
	for file, spans := range u {
		bytes := int64(0)
		for _, s := range spans {
			bytes += s.to - s.from
		}
		out = append(out, fmt.Sprintf("%d bytes of %s", bytes, filepath.Base(file)))
	}
	return strings.Join(out, ", ")
}

// take makes zeros of what was not synced: what a disk has there after a power cut is anybody's guess.
func (u unsynced) take(t *testing.T) {
	t.Helper()
	for file, spans := range u {
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range spans {
			if _, err := f.WriteAt(make([]byte, s.to-s.from), s.from); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
	}
}

// A sync covers what was written before it began, no more, and nothing before it has ended.
func TestReadTrace(t *testing.T) {
	const write, sync = `pwrite64(9</d/s.db-wal>, ""..., 10, `, `fdatasync(9</d/s.db-wal>`
	for _, tt := range []struct {
		name, trace string
		want        []span
	}{
		{"written", "7 " + write + "0) = 10\n", []span{{0, 10}}},
		{"written in part", "7 " + write + "0) = 4\n", []span{{0, 4}}},
		{"synced", "7 " + write + "0) = 10\n7 " + sync + ") = 0\n", nil},
		{"written after the sync", "7 " + sync + ") = 0\n7 " + write + "32) = 10\n", []span{{32, 42}}},
		{"written during the sync", "7 " + write + "0) = 10\n7 " + sync + " <unfinished ...>\n8 " + write + "10) = 10\n7 <... fdatasync resumed>) = 0\n", []span{{10, 20}}},
		{"the sync has not ended", "7 " + write + "0) = 10\n7 " + sync + " <unfinished ...>\n", []span{{0, 10}}},
		{"the sync has failed", "7 " + write + "0) = 10\n7 " + sync + ") = -1 EIO (Input/output error)\n", []span{{0, 10}}},
		{"in two halves", "7 " + write + "0 <unfinished ...>\n8 +++ exited with 0 +++\n7 <... pwrite64 resumed>) = 10\n", []span{{0, 10}}},
		{"another file", `7 pwrite64(9</d/log>, ""..., 10, 0) = 10` + "\n", nil},
	} {
		name := filepath.Join(t.TempDir(), "trace")
		if err := os.WriteFile(name, []byte(tt.trace), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := readTrace(t, name)["/d/s.db-wal"]; fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: not synced are %v, want %v", tt.name, got, tt.want)
		}
	}
}
