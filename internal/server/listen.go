package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"strongroom/internal/config"
	"strongroom/internal/db"
	"strongroom/internal/peer"
)

// A listener is an open port or socket with the server that serves it.
type listener struct {
	net.Listener
	name   string
	server *http.Server
}

// listen opens all listeners, or none.
func (a *app) listen() (out []listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range out {
				l.Close()
			}
		}
	}()
	open := func(name, network, address string, connections int, s *http.Server) error {
		l, err := net.Listen(network, address)
		if err != nil && network == "unix" {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err != nil {
			return &AddressError{name, err}
		}
		out = append(out, listener{limited(l, connections), name, s})
		return nil
	}
	if err := open("listen", "tcp", a.config.Listen, a.connections(), a.httpServer(http.HandlerFunc(a.serveWire))); err != nil {
		return out, err
	}
	out[0].server.TLSConfig = a.tlsConfig()
	out[0].Listener = tls.NewListener(out[0].Listener, out[0].server.TLSConfig)
	if a.config.IdentityListen != config.Off {
		if err := open("identity_listen", "tcp", a.config.IdentityListen, localConnections, a.httpServer(http.HandlerFunc(a.serveManaged))); err != nil {
			return out, err
		}
	}
	if a.config.MetricsListen != config.Off {
		if err := open("metrics_listen", "tcp", a.config.MetricsListen, localConnections, a.httpServer(a.health())); err != nil {
			return out, err
		}
	}
	if a.config.DebugListen != config.Off {
		profiles := a.httpServer(nil)
		profiles.Handler = profiler() // without deadlines: a profile takes longer than a request may
		if err := open("debug_listen", "tcp", a.config.DebugListen, localConnections, profiles); err != nil {
			return out, err
		}
	}
	if runtime.GOOS == "windows" {
		return out, nil // no peer credentials there: the command line signs in over HTTPS
	}
	if err := a.freeSocket(); err != nil {
		return out, err
	}
	if err := open("socket", "unix", a.config.Socket, socketConnections, a.httpServer(http.HandlerFunc(a.serveSocket))); err != nil {
		return out, err
	}
	return out, os.Chmod(a.config.Socket, 0o600)
}

// checkFree refuses addresses and a socket that are not free, before anything is made for a server that
// could not serve there.
func checkFree(cfg config.Config) error {
	for _, at := range addresses(cfg) {
		l, err := net.Listen("tcp", at.address)
		if err != nil {
			return &AddressError{at.key, err}
		}
		l.Close()
	}
	if runtime.GOOS == "windows" {
		return nil
	}
	return checkSocketFree(cfg)
}

// An AddressError is the refusal of an address that a setting names.
type AddressError struct {
	Setting string
	Err     error
}

func (e *AddressError) Error() string { return e.Setting + ": " + e.Err.Error() }

// Unwrap is the system's error.
func (e *AddressError) Unwrap() error { return e.Err }

// An address is where a listener is, and the setting that says so.
type address struct{ key, address string }

// addresses are those that the configuration has a TCP listener at.
func addresses(cfg config.Config) []address {
	all := []address{
		{"listen", cfg.Listen},
		{"metrics_listen", cfg.MetricsListen},
		{"identity_listen", cfg.IdentityListen},
		{"debug_listen", cfg.DebugListen},
	}
	return slices.DeleteFunc(all, func(a address) bool { return a.address == config.Off })
}

// spareFiles are open files that are no client's: the database's, the listeners', certificates.
// Each of the listeners for this machine alone has some of them.
const (
	spareFiles        = 512
	localConnections  = 100
	socketConnections = 200
)

// connections is the limit of open connections, made to fit the files that this process may open:
// beyond those the database could not open its own.
func (a *app) connections() int {
	want := a.config.Limits.Connections
	files, known := maxOpenFiles()
	if !known || want <= files-spareFiles {
		return want
	}
	got, level := max(files-spareFiles, files/2), slog.LevelInfo
	if got < want/2 {
		level = slog.LevelWarn
	}
	a.log.LogAttrs(context.Background(), level, "fewer connections than limits.connections: raise the limit of open files (ulimit -n, LimitNOFILE)",
		slog.Int("connections", got), slog.Int("limits.connections", want), slog.Int("open files", files))
	return got
}

// freeSocket removes a socket that a dead server left behind.
func (a *app) freeSocket() error {
	if err := checkSocketFree(a.config); err != nil {
		return err
	}
	if err := os.Remove(a.config.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("socket: %w", err)
	}
	return nil
}

// checkSocketFree refuses a socket that answers, and whatever is no socket.
func checkSocketFree(cfg config.Config) error {
	st, err := os.Lstat(cfg.Socket)
	if err == nil && st.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("socket %s: there is a file that is no socket; set another path", cfg.Socket)
	}
	c, err := net.DialTimeout("unix", cfg.Socket, time.Second)
	if err == nil {
		c.Close()
		return fmt.Errorf("socket %s: another server answers there; stop it, or set another socket", cfg.Socket)
	}
	folder := filepath.Dir(cfg.Socket)
	if folder == cfg.DataDir {
		return nil // which is made when nothing speaks against it
	}
	if info, err := os.Stat(folder); err != nil {
		return fmt.Errorf("socket: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("socket: %w", &fs.PathError{Op: "listen", Path: cfg.Socket, Err: syscall.ENOTDIR})
	}
	return nil
}

// connKey is the context key of a request's connection.
type connKey struct{}

func (a *app) httpServer(h http.Handler) *http.Server {
	l := a.config.Limits
	return &http.Server{
		Handler:           a.withDeadlines(h),
		ReadHeaderTimeout: l.HeaderTimeout,
		IdleTimeout:       l.IdleTimeout,
		MaxHeaderBytes:    l.MaxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: l.ConcurrentStreams},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, bare(c))
		},
		ConnState: turned,
		ErrorLog:  slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
}

func (a *app) tlsConfig() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if a.files != nil {
		c.GetCertificate = a.files.GetCertificate
	} else {
		c.GetCertificate = a.ca.GetCertificate
	}
	return c
}

// health serves liveness, readiness and metrics, without sign-in and without names.
func (a *app) health() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		if err := a.checkReady(ctx); err != nil {
			a.log.LogAttrs(ctx, slog.LevelWarn, "not ready", slog.Any("error", err))
			http.Error(w, "not ready: the database or the root key is out of reach, or nothing can be stored", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", a.metrics.handler())
	return mux
}

// manyFailures is how many commits in a row have to fail before a server counts as one that can store
// nothing; single ones meet conflicts. One is tried every second, by the work that is scheduled.
const manyFailures = 3

// checkReady reads what only an open root key can verify: the current authorisation. Without commits
// nothing can be answered either, since every answer leaves an entry.
func (a *app) checkReady(ctx context.Context) error {
	if n := a.metrics.failing.Load(); n >= manyFailures {
		return fmt.Errorf("the last %d commits have failed", n)
	}
	return a.db.View(ctx, func(tx *db.Tx) error {
		_, err := a.pipeline.Authz.Current(tx)
		return err
	})
}

// socketOwner says whether the process at the other end of the local socket runs as this
// server's user or as root: whoever holds the data folder, and the root key with it.
func socketOwner(c net.Conn) bool {
	uid, ok, err := peer.UnixUID(c)
	return err == nil && ok && (uid == os.Geteuid() || uid == 0)
}
