package localca

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOpenKeepsTheAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "data")
	first := open(t, dir, testDomains, time.Now)
	if !first.made {
		t.Error("first Open: Made() = false, want true")
	}
	for _, domains := range [][]string{testDomains, {"LOCALHOST."}, {"vault.localhost", "login.strongroom.internal"}} {
		again := open(t, dir, domains, time.Now)
		if again.made || !again.cert.Equal(first.cert) {
			t.Errorf("Open(%q) made another authority, want the stored one", domains)
		}
	}
	if got := names(t, dir); got != "ca-key.pem ca.pem" {
		t.Errorf("files = %q, want only the pair", got)
	}
}

func TestOpenWritesModes(t *testing.T) {
	skipWithoutModes(t)
	dir := t.TempDir()
	open(t, dir, testDomains, time.Now)
	for name, want := range map[string]os.FileMode{File: 0o644, keyName: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %s = %04o, want %04o", name, got, want)
		}
	}
}

func TestOpenReplaces(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name    string
		domains []string
		at      time.Time
		made    bool
	}{
		{"same", testDomains, start, false},
		{"31 days before the end", testDomains, start.AddDate(10, 0, -31), false},
		{"29 days before the end", testDomains, start.AddDate(10, 0, -29), true},
		{"after the end", testDomains, start.AddDate(11, 0, 0), true},
		{"another domain", []string{"localhost", "example.com"}, start, true},
		{"the parent of a domain", []string{"internal"}, start, true},
	} {
		dir := t.TempDir()
		old := open(t, dir, testDomains, func() time.Time { return start })
		ca := open(t, dir, tt.domains, func() time.Time { return tt.at })
		if got := ca.made; got != tt.made {
			t.Errorf("%s: Made() = %v, want %v", tt.name, got, tt.made)
		}
		files := strings.Fields(names(t, dir))
		if want := map[bool]int{false: 2, true: 4}[tt.made]; len(files) != want {
			t.Errorf("%s: files %q, want %d", tt.name, files, want)
		}
		if tt.made && ca.cert.Subject.CommonName == old.cert.Subject.CommonName {
			t.Errorf("%s: both authorities are called %q, want different names", tt.name, ca.cert.Subject.CommonName)
		}
		reopened := open(t, dir, tt.domains, func() time.Time { return tt.at })
		if reopened.made {
			t.Errorf("%s: the next Open made another one", tt.name)
		}
	}
}

// What a process that dies while making or replacing leaves behind: the next Open mends it
// and loses nothing.
func TestOpenAfterCrash(t *testing.T) {
	now := func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }
	dir := t.TempDir()
	open(t, dir, testDomains, now)
	for range 2 { // twice at the same instant: neither may overwrite the other
		if err := os.Remove(filepath.Join(dir, File)); err != nil {
			t.Fatal(err)
		}
		if ca := open(t, dir, testDomains, now); !ca.made {
			t.Error("key without certificate: Made() = false, want true")
		}
	}
	want := "ca-key.pem ca-key.pem.old-20260301T120000Z ca-key.pem.old-20260301T120000Z-2 ca.pem"
	if got := names(t, dir); got != want {
		t.Errorf("files = %q, want %q", got, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	other := t.TempDir()
	open(t, other, testDomains, time.Now)
	for _, tt := range []struct {
		name, err string
		spoil     func(t *testing.T, dir string)
	}{
		{"no key", "want \"", func(t *testing.T, dir string) { remove(t, dir, keyName) }},
		{"foreign key", "does not belong", func(t *testing.T, dir string) { copyFile(t, other, dir, keyName) }},
		{"foreign certificate", "does not belong", func(t *testing.T, dir string) { copyFile(t, other, dir, File) }},
		{"cut certificate", "want a PEM certificate", func(t *testing.T, dir string) { write(t, dir, File, "-----BEGIN CERT") }},
		{"bad certificate", "local CA certificate", func(t *testing.T, dir string) {
			write(t, dir, File, "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
		}},
		{"cut key", "want a PKCS#8 private key", func(t *testing.T, dir string) { write(t, dir, keyName, "") }},
		{"bad key", "local CA key", func(t *testing.T, dir string) {
			write(t, dir, keyName, "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n")
		}},
	} {
		dir := t.TempDir()
		open(t, dir, testDomains, time.Now)
		tt.spoil(t, dir)
		before := names(t, dir)
		_, err := Open(dir, testDomains, time.Now)
		if err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: Open = %v, want error with %q", tt.name, err, tt.err)
		}
		if got := names(t, dir); got != before {
			t.Errorf("%s: files = %q, want %q untouched", tt.name, got, before)
		}
	}
}

func TestOpenRefusesReadableKey(t *testing.T) {
	skipWithoutModes(t)
	dir := t.TempDir()
	open(t, dir, testDomains, time.Now)
	if err := os.Chmod(filepath.Join(dir, keyName), 0o640); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, testDomains, time.Now)
	if err == nil || !strings.Contains(err.Error(), "has mode 0640: want 0600") {
		t.Errorf("Open = %v, want an error that names the mode", err)
	}
}

func TestOpenRefusesDomains(t *testing.T) {
	for _, domains := range [][]string{nil, {""}, {"."}, {"127.0.0.1"}, {"::1"}, {"*.example.com"}, {"a b"}, {"-a.example"}, {"good.example", "bad..example"}} {
		dir := t.TempDir()
		if _, err := Open(dir, domains, time.Now); err == nil {
			t.Errorf("Open(%q) = no error, want one", domains)
		}
		if got := names(t, dir); got != "" {
			t.Errorf("Open(%q) left %q, want nothing", domains, got)
		}
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return strings.Join(all, " ")
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to, name string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(from, name))
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, name, string(b))
}
