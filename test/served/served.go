//go:build unix

// Package served starts the built server for tests that look at it from outside: its process,
// its files, its listeners.
package served

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Hosts of the faces in dev.
const (
	VaultHost      = "dev.vault.localhost"
	ManagementHost = "management.localhost"
)

// atOnce is how many connections of each kind are kept for the next requests.
const atOnce = 64

// A Server is the built binary with a folder and ports of its own.
type Server struct {
	Dir     string   // holds everything the server writes
	Listen  string   // its TLS listener
	Metrics string   // its health and metrics listener
	Wrapper []string // a command to start it under, such as strace
	Path    string   // of the binary; "" is the built one

	t       testing.TB
	args    []string
	init    []string // of a service: the arguments of Init
	cmd     *exec.Cmd
	ended   chan struct{} // closed when the process has ended and all that it wrote is in log
	log     *log
	beside  int // how many others listen on its port
	client  *http.Client
	tls     *http.Client // made by the first Get
	tlsOnce sync.Once
}

// New prepares a server on SQLite or, with a connection string, on PostgreSQL. Settings are
// key=value, over the ones that tests need, or flags with their dashes. Start starts it.
func New(t testing.TB, postgresURL string, settings ...string) *Server {
	t.Helper()
	s := &Server{t: t, Dir: t.TempDir(), Metrics: FreeAddress(t), Listen: FreeAddress(t), log: &log{}}
	s.args = []string{"dev", "--data-dir", s.Data(), "--listen", s.Listen}
	s.set(postgresURL, map[string]string{}, settings)
	s.connect()
	return s
}

// NewService is New for "strongroom serve", with the root key in Dir. Init comes before the first
// Start, and makes no vault.
func NewService(t testing.TB, postgresURL string, settings ...string) *Server {
	t.Helper()
	s := &Server{t: t, Dir: t.TempDir(), Metrics: FreeAddress(t), Listen: FreeAddress(t), log: &log{}}
	s.args = []string{"serve"}
	s.set(postgresURL, map[string]string{
		"data_dir": s.Data(), "listen": s.Listen, "root_key.file": filepath.Join(s.Dir, "root.key"),
	}, settings)
	s.init = append([]string{"init"}, s.args[1:]...)
	s.connect()
	return s
}

// Init makes the root key and the database of a service.
func (s *Server) Init() {
	s.t.Helper()
	if out, err := exec.Command(Binary(s.t), s.init...).CombinedOutput(); err != nil {
		s.t.Fatalf("init: %v: %s", err, out)
	}
}

// set adds the settings to the arguments, over those that tests need.
func (s *Server) set(postgresURL string, all map[string]string, settings []string) {
	all["metrics_listen"], all["identity_listen"], all["log.level"], all["socket"] = s.Metrics, "off", "warn", s.Socket()
	if postgresURL != "" {
		all["database.engine"], all["database.url"] = "postgresql", postgresURL
	}
	for _, setting := range settings {
		if strings.HasPrefix(setting, "--") {
			s.args = append(s.args, setting)
			continue
		}
		key, value, _ := strings.Cut(setting, "=")
		all[key] = value
	}
	for key, value := range all {
		s.args = append(s.args, "--set", key+"="+value)
	}
}

// connect makes the client of the local socket.
func (s *Server) connect() {
	s.client = &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", s.Socket())
		},
		MaxIdleConnsPerHost: atOnce,
	}}
}

// ListenBeside makes the server listen on the port of another one, the first of its deployment, at a
// loopback address of its own: nodes of one deployment have the same names, and the port is part of
// them.
func (s *Server) ListenBeside(other *Server) {
	_, port, err := net.SplitHostPort(other.Listen)
	if err != nil {
		s.t.Fatal(err)
	}
	other.beside++
	at := net.JoinHostPort(fmt.Sprintf("127.0.0.%d", 1+other.beside), port)
	for i, arg := range s.args {
		if arg == s.Listen {
			s.args[i] = at
		}
	}
	s.Listen = at
}

// Binary is the path of the built binary, or of the one that TEST_SERVER_BINARY names, such as one
// with the race detector.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs(cmp.Or(os.Getenv("TEST_SERVER_BINARY"), "../../bin/strongroom"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("want the built binary (make build): %v", err)
	}
	return path
}

// FreeAddress is a loopback address whose port nobody uses at the moment.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Data is the server's data folder.
func (s *Server) Data() string { return filepath.Join(s.Dir, "data") }

// Socket is the server's local socket.
func (s *Server) Socket() string { return filepath.Join(s.Dir, "s") }

// Log is what the server has written to standard error so far.
func (s *Server) Log() string { return s.log.String() }

// PID is the process id of the server or of its wrapper.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Start starts the server and waits until it is ready.
func (s *Server) Start() {
	s.t.Helper()
	s.Launch()
	s.WaitReady()
}

// TryStart is Start for a server that may end instead of serving: err has the end of its log then.
func (s *Server) TryStart() error {
	s.t.Helper()
	had := len(s.Log())
	s.Launch()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		select {
		case <-s.ended:
			return fmt.Errorf("the server ended: %s", s.Log()[had:])
		default:
		}
		if s.IsReady() {
			return nil
		}
		time.Sleep(10 * time.Millisecond) // a poll to a deadline
	}
	return fmt.Errorf("the server was not ready within a minute: %s", s.Log()[had:])
}

// Launch starts the server and waits for nothing.
func (s *Server) Launch() {
	s.t.Helper()
	binary := s.Path
	if binary == "" {
		binary = Binary(s.t)
	}
	args := append(append(append([]string{}, s.Wrapper...), binary), s.args...)
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = io.Discard, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd, ended := s.cmd, make(chan struct{})
	s.ended = ended
	go func() {
		cmd.Wait() // the exit status of a killed process says nothing
		close(ended)
	}()
	s.t.Cleanup(func() {
		s.Kill()
		if strings.Contains(s.Log(), "DATA RACE") {
			s.t.Errorf("the server found a data race: %s", s.Log())
		}
	})
}

// WaitReady waits until the server says that it is ready.
func (s *Server) WaitReady() {
	s.t.Helper()
	if !Poll(time.Minute, s.IsReady) {
		s.t.Fatalf("the server was not ready within a minute: %s", s.Log())
	}
}

// IsReady says whether the server says that it is ready.
func (s *Server) IsReady() bool {
	resp, err := http.Get("http://" + s.Metrics + "/readyz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Poll looks again and again until something is done, or the time is over.
func Poll(within time.Duration, done func() bool) bool {
	for deadline := time.Now().Add(within); time.Now().Before(deadline); {
		if done() {
			return true
		}
		time.Sleep(10 * time.Millisecond) // a poll to a deadline
	}
	return false
}

// Kill ends the server as a crash would. It may be called twice.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Stop asks the server to stop, and waits until it has.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

func (s *Server) end(signal syscall.Signal) {
	if s.cmd == nil {
		return
	}
	select {
	case <-s.ended:
		return // its group may be somebody else's by now
	default:
	}
	syscall.Kill(-s.cmd.Process.Pid, signal)
	<-s.ended
	s.client.CloseIdleConnections()
}

// Client sends requests over the local socket, whatever their host.
func (s *Server) Client() *http.Client { return s.client }

// Call sends a request over the local socket; the host names the face.
func (s *Server) Call(method, host, path, body string) (status int, requestID string, answer []byte, err error) {
	req, err := http.NewRequest(method, "http://"+host+path, strings.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	resp, answer, err := Do(s.client, req)
	if resp == nil {
		return 0, "", nil, err
	}
	return resp.StatusCode, resp.Header.Get("x-ms-request-id"), answer, err
}

// A Run is what a program under "strongroom run" is given.
type Run struct {
	Proxy            string `json:"proxy"`
	IdentityEndpoint string `json:"identityEndpoint"`
	Secret           string `json:"secret"`
	CA               string `json:"caPem"`
	End              func() `json:"-"`
}

// OpenRun opens a run over the local socket.
func (s *Server) OpenRun(body string) Run {
	s.t.Helper()
	ctx, end := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://local/runs", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = "login.localhost"
	resp, err := (&http.Client{Transport: s.client.Transport}).Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	var line struct {
		Started *Run   `json:"started"`
		Error   string `json:"error"`
	}
	if err := json.UnmarshalDecode(jsontext.NewDecoder(resp.Body), &line); err != nil || line.Started == nil {
		s.t.Fatalf("open a run: %d, %v, %s", resp.StatusCode, err, line.Error)
	}
	line.Started.End = func() { end(); resp.Body.Close() }
	s.t.Cleanup(line.Started.End)
	return *line.Started
}

// Do sends a request and reads the whole answer. resp is nil if none began.
func Do(client *http.Client, req *http.Request) (resp *http.Response, answer []byte, err error) {
	if resp, err = client.Do(req); err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp, answer, err
}

// ReadMetrics reads what the server counts.
func (s *Server) ReadMetrics() string {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+s.Metrics+"/metrics", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, b, err := Do(http.DefaultClient, req)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("read the metrics: %v, %v", resp, err)
	}
	return string(b)
}

// A log keeps what a process writes.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Roots trusts the server's own authority alone. The server must have started.
func (s *Server) Roots() *x509.CertPool {
	s.t.Helper()
	pem, err := os.ReadFile(filepath.Join(s.Data(), "ca.pem"))
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		s.t.Fatal("no certificate in ca.pem")
	}
	return roots
}

// Transport sends requests to the server's TLS listener, whatever their host, and trusts the
// server's own authority alone. The server must have started.
func (s *Server) Transport() *http.Transport {
	s.t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.Roots()}, MaxIdleConnsPerHost: atOnce,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", s.Listen)
		},
	}
	s.t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// Get asks the server's TLS listener with a token.
func (s *Server) Get(host, path, token string) (status int, err error) {
	s.tlsOnce.Do(func() {
		s.tls = &http.Client{Timeout: 40 * time.Second, Transport: s.Transport()}
	})
	req, err := http.NewRequest(http.MethodGet, "https://"+host+path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, _, err := Do(s.tls, req)
	if resp == nil {
		return 0, err
	}
	return resp.StatusCode, err
}
