//go:build unix

package server

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSocketPathIsFreed takes over what a dead server has left, and nothing else: a path that names
// the database by mistake must not cost the database.
func TestSocketPathIsFreed(t *testing.T) {
	listen := func(t *testing.T, path string, stays bool) {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		if stays {
			t.Cleanup(func() { l.Close() })
			return
		}
		l.Close()
	}
	for _, tt := range []struct {
		name, err string // a part of the refusal; "" means that the path is free then
		make      func(t *testing.T, path string)
	}{
		{"nothing", "", func(*testing.T, string) {}},
		{"dead socket", "", func(t *testing.T, path string) { listen(t, path, false) }},
		{"socket that answers", "another server answers", func(t *testing.T, path string) { listen(t, path, true) }},
		{"file", "no socket", func(t *testing.T, path string) { write(t, path, "x") }},
		{"empty folder", "no socket", func(t *testing.T, path string) { os.Mkdir(path, 0o700) }},
		{"link", "no socket", func(t *testing.T, path string) {
			write(t, path+".file", "x")
			os.Symlink(path+".file", path)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &app{config: testConfig(t)}
			a.config.Socket = filepath.Join(t.TempDir(), "s")
			tt.make(t, a.config.Socket)
			err := a.freeSocket()
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want an error about %q", err, tt.err)
			}
			if _, err := os.Lstat(a.config.Socket); (err == nil) != (tt.err != "") {
				t.Errorf("afterwards: %v, want it there: %v", err, tt.err != "")
			}
		})
	}
	t.Run("the database", func(t *testing.T) {
		cfg := testConfig(t)
		cfg.Socket = cfg.Database.Path
		if err := tryInit(cfg); err != nil {
			t.Fatal(err)
		}
		if err := start(cfg); err == nil || !strings.Contains(err.Error(), "no socket") {
			t.Errorf("a server at the path of its database: got %v", err)
		}
		if _, err := os.Stat(cfg.Database.Path); err != nil {
			t.Error(err)
		}
	})
}
