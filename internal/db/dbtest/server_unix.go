//go:build unix

package dbtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Server is a PostgreSQL of our own in a temporary folder.
type Server struct {
	dir  string
	bin  string
	port int
	cred *syscall.Credential // nil where we are no root already
	cmd  *exec.Cmd
}

// StartServer makes a new cluster and starts it. Durability is on, as in production.
func StartServer() (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin}
	if s.cred, err = unprivileged(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "strongroom-pg-"); err != nil {
		return nil, err
	}
	if s.cred != nil {
		if err := os.Chown(s.dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			return nil, err
		}
	}
	initdb := s.command("initdb", "-D", s.data(), "-U", "strongroom", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	return s, s.Start()
}

// Start starts the server (again) on its port and waits until it answers.
func (s *Server) Start() error {
	if s.port == 0 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s.port = l.Addr().(*net.TCPAddr).Port
		l.Close()
	}
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		if err := s.startOnce(); err != nil {
			return err
		}
		if s.waitReady(deadline) {
			return nil
		}
		s.cmd.Wait()
	}
	return fmt.Errorf("postgres did not answer within a minute; its log is %s/log", s.dir)
}

func (s *Server) startOnce() error {
	s.cmd = s.command("postgres", "-D", s.data(), "-p", strconv.Itoa(s.port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=", "-c", "max_connections=200", "-c", "shared_buffers=32MB", "-c", "max_wal_size=64MB")
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	return s.cmd.Start()
}

// IsReady says whether the server answers.
func (s *Server) IsReady() bool {
	return s.command("pg_isready", "-q", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-U", "strongroom").Run() == nil
}

// waitReady waits until the server answers. False means that it has ended instead: after a crash
// it refuses to start while a process of its former life is still leaving.
func (s *Server) waitReady(deadline time.Time) bool {
	for time.Now().Before(deadline) {
		if s.IsReady() {
			return true
		}
		if s.HasEnded() {
			return false
		}
		time.Sleep(50 * time.Millisecond) // a poll to a deadline
	}
	return false
}

// Kill ends the server's processes at once, as a crash would. Each of them leads a process group of
// its own, and would live on for a moment without the postmaster, which is stopped first so that it
// cannot start more.
func (s *Server) Kill() {
	syscall.Kill(s.PID(), syscall.SIGSTOP)
	s.signalChildren(syscall.SIGKILL)
	syscall.Kill(s.PID(), syscall.SIGKILL)
	s.cmd.Wait()
}

// Pause stops all processes of the server where they are, until Resume: connections stay open and
// nobody answers.
func (s *Server) Pause() {
	syscall.Kill(s.PID(), syscall.SIGSTOP)
	s.signalChildren(syscall.SIGSTOP)
}

// Resume lets the processes go on.
func (s *Server) Resume() {
	s.signalChildren(syscall.SIGCONT)
	syscall.Kill(s.PID(), syscall.SIGCONT)
}

func (s *Server) signalChildren(signal syscall.Signal) {
	children, _ := exec.Command("pgrep", "-P", strconv.Itoa(s.PID())).Output() // fails when there are none
	for _, child := range strings.Fields(string(children)) {
		if pid, err := strconv.Atoi(child); err == nil {
			syscall.Kill(pid, signal)
		}
	}
}

// HasEnded says whether the server is gone by itself, once it had time for that.
func (s *Server) HasEnded() bool {
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
	return err != nil || strings.Contains(string(state), ") Z ")
}

// PID is the process id of the postmaster.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop ends the server and removes its folder.
func (s *Server) Stop() {
	if s.cmd != nil && s.cmd.ProcessState == nil {
		s.cmd.Process.Signal(syscall.SIGINT) // fast shutdown
		done := make(chan struct{})
		go func() { s.cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			s.Kill()
		}
	}
	os.RemoveAll(s.dir)
}

// CreateDatabase makes an empty database.
func (s *Server) CreateDatabase(name string) error {
	out, err := s.command("createdb", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-U", "strongroom", name).CombinedOutput()
	if err != nil {
		return fmt.Errorf("createdb: %w: %s", err, out)
	}
	return nil
}

// URL is the connection string of one of the server's databases.
func (s *Server) URL(name string) string {
	return fmt.Sprintf("postgres://strongroom@127.0.0.1:%d/%s?sslmode=disable", s.port, name)
}

// Dir is the folder that holds everything the server writes.
func (s *Server) Dir() string { return s.dir }

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: s.cred}
	return cmd
}

// binaries finds the folder of initdb: Debian keeps it out of the PATH.
func binaries() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", err
	}
	return filepath.Dir(path), nil
}

// unprivileged returns the user that PostgreSQL runs as when the tests run as root, which it
// refuses to run as: its own if the package made one, else nobody.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("no user %s to run PostgreSQL as", strings.Join([]string{"postgres", "nobody"}, " or "))
}
