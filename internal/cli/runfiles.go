package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// systemBundles are where Linux distributions keep the authorities they trust (the list of
// crypto/x509, in its order).
var systemBundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/etc/pki/tls/cacert.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/cert.pem",
}

// runFiles are what a run's child reads from a folder that only its user can open, and that goes
// with it. They hold certificates, no keys.
type runFiles struct {
	dir    string
	own    string // our authority, and what the user added for Node; "" without an authority
	bundle string // the system's authorities and ours; "" without an authority
	azure  string // a folder for az, so that the user's own sign-in stays untouched
}

func makeRunFiles(environ []string, authority string) (f runFiles, err error) {
	if f.dir, err = os.MkdirTemp("", "strongroom-run-"); err != nil { // mode 0700
		return f, fmt.Errorf("make the folder of the run: %w", err)
	}
	defer func() {
		if err != nil {
			f.remove()
		}
	}()
	f.azure = filepath.Join(f.dir, "azure")
	if err := os.Mkdir(f.azure, 0o700); err != nil {
		return f, fmt.Errorf("make the folder of the run: %w", err)
	}
	if authority == "" {
		return f, nil
	}
	f.own, f.bundle = filepath.Join(f.dir, "ca.pem"), filepath.Join(f.dir, "bundle.pem")
	node, err := joinPEM(lookup(environ, "NODE_EXTRA_CA_CERTS"))
	if err != nil {
		return f, err
	}
	system, err := joinPEM(or(lookup(environ, "SSL_CERT_FILE"), systemBundle()), lookup(environ, "REQUESTS_CA_BUNDLE"))
	if err != nil {
		return f, err
	}
	for path, content := range map[string][]byte{f.own: node, f.bundle: system} {
		if err := os.WriteFile(path, append(content, authority...), 0o600); err != nil {
			return f, fmt.Errorf("write the authorities of the run: %w", err)
		}
	}
	return f, nil
}

func (f runFiles) remove() { _ = os.RemoveAll(f.dir) } // what stays holds no secret

func systemBundle() string {
	for _, path := range systemBundles {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// joinPEM puts files together, each once. What is a folder or not there is left out: the child
// could not have read it as a file either.
func joinPEM(paths ...string) (out []byte, err error) {
	for i, path := range paths {
		if path == "" || slices.Contains(paths[:i], path) {
			continue
		}
		if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the authorities to trust: %w", err)
		}
		out = append(append(out, b...), '\n')
	}
	return out, nil
}
