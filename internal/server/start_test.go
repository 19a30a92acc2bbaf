package server

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
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

// TestRefusedStartLeavesNothing looks at the folders before and after.
func TestRefusedStartLeavesNothing(t *testing.T) {
	here := testConfig(t)
	startApp(t, here).close()
	there := testConfig(t)
	startApp(t, there).close()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	foreign := func(c *config.Config) {
		*c = testConfig(t)
		if err := os.Mkdir(c.DataDir, 0o700); err != nil {
			t.Fatal(err)
		}
		d, err := sql.Open("sqlite", c.Database.Path)
		if err == nil {
			_, err = d.ExecContext(t.Context(), `CREATE TABLE notes (text TEXT)`)
		}
		if err = errors.Join(err, d.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*config.Config)
		start  func(config.Config) error
		want   string
	}{
		{"nothing there", func(c *config.Config) { *c = testConfig(t) }, start, "strongroom init"},
		{"the root key of another deployment", func(c *config.Config) { c.RootKey.File = there.RootKey.File }, start, "set root_key.file to this deployment's key"},
		{"no root key", func(c *config.Config) { c.RootKey.File += ".gone" }, start, "root_key.file"},
		{"dev on a port that is taken", func(c *config.Config) {
			*c = testConfig(t)
			c.MetricsListen = taken.Addr().String()
		}, startDev, "metrics_listen"},
		{"init without its passphrase", func(c *config.Config) {
			*c = testConfig(t)
			c.RootKey = config.RootKey{PassphraseFile: c.DataDir + ".passphrase"}
		}, tryInit, "root_key.passphrase_file"},
		{"the database is lost", func(c *config.Config) {
			if err := os.Remove(c.Database.Path); err != nil {
				t.Fatal(err)
			}
			write(t, progressFile(*c), `{"deployment":"7d1ad2c5-4b1c-4d0e-8a35-0d6d0a0f8f11","revisions":{},"position":1}`)
		}, start, "its database is gone"},
		{"a database that is none", func(c *config.Config) {
			*c = testConfig(t)
			if err := os.Mkdir(c.DataDir, 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, c.Database.Path, strings.Repeat("no database ", 1000))
		}, start, "set database.path"},
		{"a port that is taken", func(c *config.Config) {
			*c = initialised(t)
			c.MetricsListen = taken.Addr().String()
		}, start, "metrics_listen"},
		{"a socket that another answers at", func(c *config.Config) {
			*c = initialised(t)
			l, err := net.Listen("unix", c.Socket)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, start, "another server answers there"},
		{"a TLS file that is missing", func(c *config.Config) {
			*c = initialised(t)
			c.TLS.CertificateFile, c.TLS.KeyFile = c.DataDir+".crt", c.DataDir+".key"
		}, start, ".crt"},
		{"another deployment than was served", func(c *config.Config) {
			*c = initialised(t)
			write(t, progressFile(*c), `{"deployment":"7d1ad2c5-4b1c-4d0e-8a35-0d6d0a0f8f11"}`)
		}, start, "this node has served 7d1ad2c5"},
		{"a mark of a restore that is none of ours", func(c *config.Config) {
			*c = initialised(t)
			d, err := sql.Open("sqlite", c.Database.Path)
			if err == nil {
				_, err = d.ExecContext(t.Context(), `INSERT INTO meta (key, value, row_mac) VALUES ('restored_unconfirmed', 'run this', x'00')`)
			}
			if err = errors.Join(err, d.Close()); err != nil {
				t.Fatal(err)
			}
		}, start, "does not match its seal"},
		{"init on the database of another program, elsewhere", func(c *config.Config) {
			foreign(c)
			c.DataDir += ".new"
			c.RootKey.File, c.RootKey.InsideDataDir = filepath.Join(c.DataDir, "root.key"), true
		}, tryInit, "tables of another program (notes)"},
		{"init with a passphrase that is too short", func(c *config.Config) {
			*c = testConfig(t)
			c.RootKey = config.RootKey{PassphraseFile: filepath.Join(t.TempDir(), "passphrase")}
			write(t, c.RootKey.PassphraseFile, "eleven byte")
		}, tryInit, "at least 12"},
		{"init with a root key that is none", func(c *config.Config) {
			*c = testConfig(t)
			c.RootKey.File = filepath.Join(t.TempDir(), "root.key")
			write(t, c.RootKey.File, "no key")
		}, tryInit, "root key"},
		{"the database of another program", foreign, start, "tables of another program (notes)"},
		{"init on the database of another program", foreign, tryInit, "tables of another program (notes)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := here
			c.change(&cfg)
			before := listing(t, filepath.Dir(cfg.DataDir))
			if err := c.start(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if after := listing(t, filepath.Dir(cfg.DataDir)); !slices.Equal(before, after) {
				t.Errorf("before there was %q, after there is %q", before, after)
			}
		})
	}
}

// initialised is a deployment that nobody has served.
func initialised(t *testing.T) config.Config {
	t.Helper()
	cfg := testConfig(t)
	if err := tryInit(cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func tryInit(cfg config.Config) error {
	_, err := Init(context.Background(), Options{Config: cfg, Stderr: io.Discard})
	return err
}

func startDev(cfg config.Config) error {
	a, err := newDevApp(context.Background(), Options{Config: cfg, Dev: true, Stderr: io.Discard}, slog.New(slog.DiscardHandler))
	if err == nil {
		a.close()
	}
	return err
}

// listing names all files and folders below one, with their sizes, but for lock files.
func listing(t *testing.T, folder string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".lock") {
			return nil // it names the last process that held the database
		}
		info, err := d.Info()
		if strings.HasSuffix(path, "-shm") || strings.HasSuffix(path, "-wal") && err == nil && info.Size() == 0 {
			return nil // where two connections close at once, SQLite may leave its empty log
		}
		if err == nil && !d.IsDir() {
			path = fmt.Sprintf("%s (%d bytes)", path, info.Size())
		}
		out = append(out, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
