package localca

import (
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writePair puts a certificate for name into dir as cert.pem and key.pem.
func writePair(t *testing.T, ca *CA, dir, name string) {
	t.Helper()
	made, err := (&pair{cert: ca.cert, key: ca.key}).newLeaf(name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalECPrivateKey(made.key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: made.cert.Raw})))
	write(t, dir, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key})))
}

func TestFilesReload(t *testing.T) {
	ca := open(t, t.TempDir(), testDomains, time.Now)
	dir := t.TempDir()
	writePair(t, ca, dir, "one.localhost")
	files, err := LoadFiles(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	serves := func(when, want string) {
		t.Helper()
		cert, err := files.GetCertificate(nil)
		if err != nil || cert.Leaf.DNSNames[0] != want {
			t.Errorf("%s: serves %v, %v; want %q", when, cert, err, want)
		}
	}
	serves("at first", "one.localhost")
	if left := time.Until(files.NotAfter()); left < 89*24*time.Hour {
		t.Errorf("NotAfter is in %v, want about 90 days", left)
	}

	other := t.TempDir()
	writePair(t, ca, other, "two.localhost")
	copyFile(t, other, dir, "cert.pem")
	if err := files.Reload(); err == nil || !strings.Contains(err.Error(), "want a pair") {
		t.Errorf("Reload between the two files = %v, want an error that asks for a pair", err)
	}
	serves("half replaced", "one.localhost")

	copyFile(t, other, dir, "key.pem")
	if err := files.Reload(); err != nil {
		t.Errorf("Reload = %v, want no error", err)
	}
	serves("replaced", "two.localhost")
}

func TestLoadFilesRefuses(t *testing.T) {
	ca := open(t, t.TempDir(), testDomains, time.Now)
	for _, tt := range []struct{ file, text, err string }{
		{"cert.pem", "", `cert.pem": want PEM certificates`},
		{"cert.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "cert.pem"},
		{"key.pem", "hunter2", `key.pem": want a PEM private key`},
		{"key.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n", `key.pem" is encrypted: want a key without passphrase`},
		{"key.pem", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMAA=\n-----END RSA PRIVATE KEY-----\n", "is encrypted"},
		{"key.pem", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n", "key.pem"},
	} {
		dir := t.TempDir()
		writePair(t, ca, dir, "one.localhost")
		write(t, dir, tt.file, tt.text)
		_, err := LoadFiles(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
		if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s %q: LoadFiles = %v, want error with %q", tt.file, tt.text, err, tt.err)
		}
	}
	if _, err := LoadFiles("absent.pem", "key.pem"); err == nil || !strings.Contains(err.Error(), "absent.pem") {
		t.Errorf("LoadFiles of a missing file = %v, want its name", err)
	}
}
