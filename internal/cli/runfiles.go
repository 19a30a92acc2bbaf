package cli

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	own    string // our authority, and what the user added for Node, in PEM
	bundle string // the system's authorities, those of the user's variables, and ours, in PEM
	java   string // the bundle in Java's format
	alone  bool   // the bundle holds our authority and no other
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
	return f, f.writeAuthorities(environ, authority)
}

// writeAuthorities writes what the child is to trust, once in each format.
func (f *runFiles) writeAuthorities(environ []string, authority string) error {
	var node, all authorities
	if err := node.addFile(lookup(environ, "NODE_EXTRA_CA_CERTS")); err != nil {
		return err
	}
	if err := all.addTrusted(environ); err != nil {
		return err
	}
	f.alone = len(all.der) == 0
	node.addPEM([]byte(authority))
	all.addPEM([]byte(authority))
	f.own, f.bundle, f.java = filepath.Join(f.dir, "ca.pem"), filepath.Join(f.dir, "bundle.pem"), filepath.Join(f.dir, "bundle.jks")
	for path, content := range map[string][]byte{f.own: node.pem(), f.bundle: all.pem(), f.java: javaStore(all.valid())} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return fmt.Errorf("write the authorities of the run: %w", err)
		}
	}
	return nil
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

// authorities are certificates in DER, each once.
type authorities struct {
	der  [][]byte
	seen map[string]bool
}

// addTrusted adds the system's authorities, or what SSL_CERT_FILE has in their place, and those
// of every variable that the run replaces or clears: nothing that the user trusts is lost.
func (a *authorities) addTrusted(environ []string) error {
	if err := a.addFile(or(lookup(environ, "SSL_CERT_FILE"), systemBundle())); err != nil {
		return err
	}
	for _, name := range bundleVariables {
		if err := a.addFile(lookup(environ, name)); err != nil {
			return err
		}
	}
	for _, name := range folderVariables {
		for _, dir := range filepath.SplitList(lookup(environ, name)) {
			a.addFolder(dir)
		}
	}
	return nil
}

// addFile adds the certificates of a file. What is a folder or not there is left out: the child
// could not have read it as a file either.
func (a *authorities) addFile(path string) error {
	if path == "" {
		return nil
	}
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the authorities to trust: %w", err)
	}
	a.addPEM(b)
	return nil
}

// addFolder adds the files of a folder of certificates. Libraries pass over what they cannot read
// in it, and so does this.
func (a *authorities) addFolder(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		_ = a.addFile(filepath.Join(dir, e.Name()))
	}
}

// addPEM adds the certificates of a text; other blocks and what stands between are left out.
func (a *authorities) addPEM(text []byte) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return
		}
		if block.Type != "CERTIFICATE" || a.seen[string(block.Bytes)] {
			continue
		}
		if a.seen == nil {
			a.seen = map[string]bool{}
		}
		a.seen[string(block.Bytes)] = true
		a.der = append(a.der, block.Bytes)
	}
}

func (a *authorities) pem() []byte {
	var out bytes.Buffer
	for _, der := range a.der {
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a buffer takes everything
	}
	return out.Bytes()
}

// valid are the certificates that parse: by one that does not, Java refuses the whole store.
func (a *authorities) valid() [][]byte {
	var out [][]byte
	for _, der := range a.der {
		if _, err := x509.ParseCertificate(der); err == nil {
			out = append(out, der)
		}
	}
	return out
}
