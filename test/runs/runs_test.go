//go:build linux

// Package runs starts programs by the built "strongroom run" and ends them in every way: nothing of a run
// may be left.
package runs

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"strongroom/test/served"
)

// A started run tells the process id of its program and the address of its proxy.
type started struct {
	cmd   *exec.Cmd
	pid   int
	proxy string
	errs  *bytes.Buffer
}

// program says who it is, and waits for its end.
const program = `echo $$ ${HTTPS_PROXY#http://}; exec sleep 60`

func start(t *testing.T, s *served.Server, folder string) started {
	t.Helper()
	cmd := exec.Command(served.Binary(t), "run", "--socket", s.Socket(), "--", "sh", "-c", program)
	r := started{cmd: cmd, errs: &bytes.Buffer{}}
	cmd.Env, cmd.Stderr = append(os.Environ(), "TMPDIR="+folder), r.errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, proxy, _ := strings.Cut(strings.TrimSpace(line), " ")
	if r.pid, _ = strconv.Atoi(pid); err != nil || r.pid == 0 {
		t.Fatalf("the program printed %q, %v: %s", line, err, r.errs)
	}
	r.proxy = proxy
	return r
}

// wantNothing waits until the program and the proxy are gone.
func (r started) wantNothing(t *testing.T) {
	t.Helper()
	if !served.Poll(10*time.Second, func() bool { return syscall.Kill(r.pid, 0) != nil }) {
		t.Errorf("the program, process %d, lives on", r.pid)
	}
	closed := func() bool {
		conn, err := net.Dial("tcp", r.proxy)
		if err == nil {
			conn.Close()
		}
		return err != nil
	}
	if !served.Poll(10*time.Second, closed) {
		t.Errorf("the proxy at %s listens on", r.proxy)
	}
}

func TestNothingIsLeft(t *testing.T) {
	s := served.New(t, "")
	s.Start()
	about := s.About()
	s.Must("PUT", strings.Replace(about.Vault("dev"), "Microsoft.KeyVault/vaults", "Microsoft.ManagedIdentity/userAssignedIdentities", 1)+"?api-version=2023-01-31",
		`{"location":"local"}`)
	folder := t.TempDir()
	for range 50 {
		r := start(t, s, folder)
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond) // an interrupt at any moment
		r.cmd.Process.Signal(os.Interrupt)
		r.cmd.Wait()
		r.wantNothing(t)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
	t.Run("killed", func(t *testing.T) {
		r := start(t, s, t.TempDir()) // holds certificates afterwards, and no key
		r.cmd.Process.Kill()
		r.cmd.Wait()
		r.wantNothing(t)
	})
	t.Run("server stopped", func(t *testing.T) {
		r := start(t, s, folder)
		began := time.Now()
		s.Stop()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the server waited %s for a run", took)
		}
		r.cmd.Process.Signal(os.Interrupt)
		r.cmd.Wait()
		r.wantNothing(t)
		if !strings.Contains(r.errs.String(), "the server stops, and the run with it") {
			t.Errorf("the run has said %q", r.errs)
		}
	})
}

// Where no server was ever started, a command has one of its own, which goes with it.
func TestServerOfOneCommand(t *testing.T) {
	const ask = `curl -sS -o /dev/null -w '%{http_code}' https://contoso-payroll.vault.azure.net/secrets/x?api-version=7.6; exit 7`
	for name, flags := range map[string][]string{"asked for": {"--ephemeral"}, "by itself": nil} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			cmd := exec.Command(served.Binary(t), append(append([]string{"run"}, flags...), "--offline", "--", "sh", "-c", ask)...)
			var out, errs bytes.Buffer
			cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), &out, &errs
			cmd.Env = append(os.Environ(), "TMPDIR="+folder)
			if err := cmd.Run(); cmd.ProcessState.ExitCode() != 7 || out.String() != "401" {
				t.Errorf("%v, printed %q, want exit code 7 and the vault's challenge: %s", err, out.String(), errs.String())
			}
			if said := strings.Contains(errs.String(), "a private one is started"); said != (flags == nil) {
				t.Errorf("said %q", errs.String())
			}
			for _, left := range []string{folder, cmd.Dir} {
				if files, err := os.ReadDir(left); err != nil || len(files) > 0 {
					t.Errorf("%v is left, %v", files, err)
				}
			}
		})
	}
}
