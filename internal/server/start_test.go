package server

import (
	"context"
	"database/sql"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"strongroom/internal/config"
)

func TestInitWithAPassphrase(t *testing.T) {
	cfg := testConfig(t)
	file := filepath.Join(t.TempDir(), "passphrase")
	write(t, file, "correct horse battery staple\n")
	cfg.RootKey = config.RootKey{PassphraseFile: file}
	a := startApp(t, cfg)
	newTranscript(t, a).must("officer", "PUT", "vault:/secrets/a", `{"value":"x"}`)
	a.close()

	write(t, file, "correct horse battery stable\n")
	if err := start(cfg); err == nil || !strings.Contains(err.Error(), "passphrase") {
		t.Errorf("start with a wrong passphrase = %v, want an error that names it", err)
	}
	write(t, file, "correct horse battery staple")
	if err := start(cfg); err != nil {
		t.Errorf("start with the passphrase = %v", err)
	}
}

func TestStartRefusals(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		spoil      func(t *testing.T, cfg *config.Config)
	}{
		{"no root key file", "root.key", func(t *testing.T, cfg *config.Config) { os.Remove(cfg.RootKey.File) }},
		{"root key for others", "mode", func(t *testing.T, cfg *config.Config) { os.Chmod(cfg.RootKey.File, 0o644) }},
		{"root key in the data folder", "data folder", func(t *testing.T, cfg *config.Config) { cfg.RootKey.InsideDataDir = false }},
		{"root key of another deployment", "root key", func(t *testing.T, cfg *config.Config) {
			other := testConfig(t)
			startApp(t, other).close()
			copyFile(t, other.RootKey.File, cfg.RootKey.File)
		}},
		{"TLS files that are none", "certificate", func(t *testing.T, cfg *config.Config) {
			cfg.TLS.CertificateFile, cfg.TLS.KeyFile = cfg.RootKey.File, cfg.RootKey.File
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := testConfig(t)
			startApp(t, cfg).close()
			tt.spoil(t, &cfg)
			if err := start(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("start = %v, want an error about %q", err, tt.want)
			}
		})
	}
	t.Run("not initialised", func(t *testing.T) {
		if err := start(testConfig(t)); err == nil || !strings.Contains(err.Error(), `run "strongroom init" first`) {
			t.Errorf("start = %v, want what to type", err)
		}
	})
	t.Run("initialised twice", func(t *testing.T) {
		cfg := testConfig(t)
		startApp(t, cfg).close()
		_, err := Init(context.Background(), Options{Config: cfg, Stderr: io.Discard})
		if err == nil || !strings.Contains(err.Error(), "initialised already") {
			t.Errorf("init = %v, want a refusal", err)
		}
	})
}

// TestNoEntryNoAnswer blocks the database for writes: a read whose entry can't be stored is not
// answered, and a write changes nothing.
func TestNoEntryNoAnswer(t *testing.T) {
	cfg := testConfig(t)
	a := startApp(t, cfg)
	tr := newTranscript(t, a)
	tr.must("officer", "PUT", "vault:/secrets/a", `{"value":"before"}`)

	other, err := sql.Open("sqlite", cfg.Database.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	block, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := block.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, r := range [][3]string{{"reader", "GET", ""}, {"officer", "PUT", `{"value":"after"}`}} {
		resp := tr.send(r[0], r[1], "vault:/secrets/a", r[2])
		if resp.Status != http.StatusServiceUnavailable || strings.Contains(string(resp.Body), "before") {
			t.Errorf("%s while nothing can be stored = %d %s, want 503", r[1], resp.Status, resp.Body)
		}
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("the refusals took %s", took)
	}
	if _, err := block.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if body := tr.must("reader", "GET", "vault:/secrets/a", ""); !strings.Contains(string(body), "before") {
		t.Errorf("after the block: %s, want the value before", body)
	}
}

// TestServeAndStop serves on real listeners, asks, and stops.
func TestServeAndStop(t *testing.T) {
	cfg := testConfig(t)
	ctx, stop := context.WithCancel(t.Context())
	ready, done := make(chan Ready, 1), make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{Config: cfg, Dev: true, Stderr: io.Discard, Version: "test"}, func(r Ready) { ready <- r })
	}()
	select {
	case r := <-ready:
		if r.DevIdentity == "" || r.CAFile == "" {
			t.Errorf("ready = %+v", r)
		}
	case err := <-done:
		t.Fatal(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("stopped with %v", err)
	}
	if _, err := os.Stat(cfg.Socket); err == nil {
		t.Error("the socket is still there")
	}
}

// start opens a server and closes it again.
func start(cfg config.Config) error {
	a, err := newApp(context.Background(), Options{Config: cfg, Stderr: io.Discard}, slog.New(slog.DiscardHandler))
	if err == nil {
		a.close()
	}
	return err
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(b))
}
