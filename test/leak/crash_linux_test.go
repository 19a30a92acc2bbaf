package leak

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"strongroom/test/served"
)

// TestNothingLeaksInACrash lets a server that has just worked with values, tokens and keys abort, where
// the system allows core dumps of any size. It must leave none, and say nothing on its way out.
func TestNothingLeaksInACrash(t *testing.T) {
	c := crashed(t)
	if cores := coresIn(t, c.Dir); len(cores) != 0 {
		t.Errorf("the crash left %d core dumps", len(cores))
	}
	c.report(map[string][]byte{"log": []byte(c.Log())})
	c.report(readAll(t, c.Dir))
}

// TestFilterEmptiesDumps shows that what the server asks of the system works: of two processes that
// allow dumps, the one with the server's filter leaves a dump without what was in its memory. That is
// what remains where a program collects dumps, whatever the limit of their size.
func TestFilterEmptiesDumps(t *testing.T) {
	for _, tt := range []struct {
		name, before string
		want         bool
	}{
		{"a control without a filter", "", true},
		{"the server's filter", "echo 0 > /proc/$$/coredump_filter && ", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, planted := t.TempDir(), newSecret()
			cmd := exec.Command("/bin/sh", "-c", tt.before+`ulimit -c unlimited && kill -ABRT $$`)
			cmd.Dir, cmd.Env = dir, []string{"PLANTED=" + planted}
			if err := cmd.Run(); err == nil {
				t.Fatal("the process did not crash")
			}
			cores := coresIn(t, dir)
			if len(cores) == 0 {
				pattern, _ := os.ReadFile("/proc/sys/kernel/core_pattern")
				t.Skipf("this system keeps core dumps elsewhere (%s), where this test cannot look", bytes.TrimSpace(pattern))
			}
			var n needles
			n.add("planted", planted, "")
			for place, core := range cores {
				if found := n.in(place, core); len(found) > 0 != tt.want || !bytes.HasPrefix(core, []byte("\x7fELF")) {
					t.Errorf("a dump of %d bytes: found %q, want something: %v", len(core), found, tt.want)
				}
			}
		})
	}
}

// crashed is a server that was at work and then aborted in a folder of its own.
func crashed(t *testing.T) *course {
	t.Helper()
	c := newCourse(t, "")
	c.Stop()
	c.Wrapper = []string{"/bin/sh", "-c", `cd "$0" && ulimit -c unlimited && exec env GOTRACEBACK=crash "$@"`, c.Dir}
	c.Start()
	c.checkLimits()
	c.everyOperation()
	c.values(10)
	pid := c.PID()
	if err := syscall.Kill(pid, syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	ended := served.Poll(time.Minute, func() bool {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		return err != nil || bytes.Contains(status, []byte("State:\tZ"))
	})
	if !ended || !strings.Contains(c.Log(), "SIGABRT") {
		t.Fatalf("the server did not crash: %.1000s", c.Log())
	}
	c.Kill() // only takes its status
	return c
}

// checkLimits wants the system to know that no memory of the server is to be dumped.
func (c *course) checkLimits() {
	c.t.Helper()
	filter, err := os.ReadFile(fmt.Sprintf("/proc/%d/coredump_filter", c.PID()))
	if err != nil || strings.Trim(string(filter), "0\n") != "" {
		c.t.Errorf("the server's filter of core dumps is %q, %v; want 0", filter, err)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", c.PID()))
	if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok && strings.Join(strings.Fields(rest), " ") != "0 0 bytes" {
			c.t.Errorf("the server's limit of core dumps is %q, want 0", rest)
		}
	}
}

// coresIn are the core dumps in a folder, by whatever name they have there.
func coresIn(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*core*"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, path := range paths {
		if out[path], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestProcessFilesAreRead is the control of what the system tells of a process: a secret in its
// arguments and its environment is found there.
func TestProcessFilesAreRead(t *testing.T) {
	argument, variable := newSecret(), newSecret()
	cmd := exec.Command("/bin/sh", "-c", "read x", argument)
	cmd.Env = []string{"PLANTED=" + variable}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for file, planted := range map[string]string{"cmdline": argument, "environ": variable} {
		var n needles
		n.add("planted", planted, "")
		found := served.Poll(10*time.Second, func() bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, file))
			return err == nil && len(n.in(file, b)) > 0
		})
		if !found {
			t.Errorf("what was planted in %s was not found", file)
		}
	}
	stdin.Close()
	cmd.Wait() // sh is told by the end of its input
}
