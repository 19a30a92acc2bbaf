package config

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestRootKeyPlace refuses what lies in data_dir by any name of the file or of the folder.
func TestRootKeyPlace(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a right there that tests do not have")
	}
	dir := t.TempDir()
	at := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
	for _, folder := range []string{"data", "data/keys", "etc"} {
		if err := os.Mkdir(at(folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"data/root.key", "data/keys/root.key", "etc/root.key"} {
		if err := os.WriteFile(at(file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"state": "data", "file": "data/root.key", "folder": "data/keys", "twice": "file", "data/out": "etc/root.key", "good": "etc/root.key",
	} {
		if err := os.Symlink(at(to), at(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		dataDir, file string
		inside        bool
	}{
		{"data", "etc/root.key", false},
		{"data", "good", false},
		{"state", "good", false},
		{"none", "none-too", false},
		{"data", "data/root.key", true},
		{"data", "data/new.key", true}, // which init is about to make
		{"data", "file", true},
		{"data", "twice", true},
		{"data", "folder/root.key", true},
		{"data", "folder/new.key", true},
		{"data", "state/root.key", true},
		{"state", "data/root.key", true},
		{"state", "file", true},
		{"data", "data/out", true}, // by its name: there are backups that follow links
		{"none", "none/root.key", true},
	} {
		for key, r := range map[string]RootKey{
			"root_key.file": {File: at(tt.file)}, "root_key.passphrase_file": {PassphraseFile: at(tt.file)},
		} {
			c := Config{DataDir: at(tt.dataDir), RootKey: r}
			want := key + ": want a file outside data_dir, or root_key.inside_data_dir: true"
			if err := c.Check(); tt.inside && (err == nil || err.Error() != want) || !tt.inside && err != nil {
				t.Errorf("data_dir %s, %s %s: got %v, inside %v", tt.dataDir, key, tt.file, err, tt.inside)
			}
			c.RootKey.InsideDataDir = true
			if err := c.Check(); err != nil && strings.Contains(err.Error(), "outside") {
				t.Errorf("data_dir %s, %s %s, inside_data_dir: got %v, want nil", tt.dataDir, key, tt.file, err)
			}
		}
	}
}
