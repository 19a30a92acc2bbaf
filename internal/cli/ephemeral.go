package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A privateServer is a server of "dev" for the life of one command, in a process and a folder of its own:
// both go with the command.
type privateServer struct {
	cmd    *exec.Cmd
	folder string
	errs   bytes.Buffer // to be read when it has ended
	ended  chan struct{}
}

// Bounds of a private server's start and end.
const (
	privateStart = 30 * time.Second
	privateEnd   = 30 * time.Second
)

// startPrivate starts one and waits until it answers. Its ports are free ones, its vault and identity are
// those of "dev".
func (c *call) startPrivate() (*privateServer, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program, to start a server: %w", err)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &privateServer{ended: make(chan struct{})}
	if s.folder, err = os.MkdirTemp("", "strongroom-ephemeral-"); err != nil { // mode 0700
		return nil, fmt.Errorf("make the folder of the server: %w", err)
	}
	s.cmd = exec.Command(program, "dev", "--data-dir", s.folder, "--port", strconv.Itoa(port),
		"--set", "metrics_listen=off", "--set", "identity_listen=off", "--set", "log.level=warn")
	s.cmd.Stderr = &s.errs
	s.cmd.Env = withoutSettings(c.environ)
	s.cmd.SysProcAttr = ownGroup()
	if err := s.cmd.Start(); err != nil {
		os.RemoveAll(s.folder)
		return nil, fmt.Errorf("start a server: %w", err)
	}
	go func() {
		_ = s.cmd.Wait() // what it has said tells more
		close(s.ended)
	}()
	if err := s.wait(c.ctx); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// withoutSettings leaves out the variables that would be settings of the server.
func withoutSettings(environ []string) (out []string) {
	for _, entry := range environ {
		if !strings.HasPrefix(entry, "STRONGROOM_") {
			out = append(out, entry)
		}
	}
	return out
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (s *privateServer) socket() string { return filepath.Join(s.folder, socketName) }

// wait polls the socket until the server answers, has ended, or its time is over.
func (s *privateServer) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, privateStart)
	defer cancel()
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		conn, err := socket{path: s.socket()}.dial(ctx)
		if err == nil {
			conn.Close()
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the server of this command ended: %s", bytes.TrimSpace(s.errs.Bytes()))
		case <-ctx.Done():
			return fmt.Errorf("the server of this command does not answer: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// stop ends the server and removes its data.
func (s *privateServer) stop() {
	_ = s.cmd.Process.Signal(os.Interrupt) // it fails when it has ended
	select {
	case <-s.ended:
	case <-time.After(privateEnd):
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
	_ = os.RemoveAll(s.folder)
}

// serverForRun is the server that runs here, or a private one that is started where none has ever been, or
// where --ephemeral asks for it.
func (c *call) serverForRun() (cl *client, private *privateServer, err error) {
	if c.text("ephemeral") != "true" {
		cl, err = c.overSocket()
		if err == nil || !errors.Is(err, errNoServer) || c.namesServer() || hasServed() {
			return cl, nil, err
		}
		c.say(`no server runs here: a private one is started for this command, and its data go with it ("strongroom dev" keeps them)`)
	} else if c.namesServer() {
		return nil, nil, usage("", "want --ephemeral, or a server by --socket or --data-dir, found both")
	}
	if private, err = c.startPrivate(); err != nil {
		return nil, nil, err
	}
	if cl, err = c.useSocket(socket{path: private.socket()}); err != nil {
		private.stop()
		return nil, nil, err
	}
	return cl, private, nil
}

func (c *call) namesServer() bool {
	return c.either("socket", "STRONGROOM_SOCKET")+c.either("data-dir", "STRONGROOM_DATA_DIR") != ""
}

// hasServed says whether there are data of a server in one of the usual places.
func hasServed() bool {
	for _, folder := range []string{devDataDir, serveDataDir} {
		if _, err := os.Stat(folder); err == nil {
			return true
		}
	}
	return false
}
