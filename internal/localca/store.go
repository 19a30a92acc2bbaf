package localca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"strongroom/internal/durable"
)

// File is the name of the authority's certificate, in the folder of Open.
const File = "ca.pem"

const (
	keyName = "ca-key.pem"

	certificateBlock = "CERTIFICATE"
	keyBlock         = "PRIVATE KEY"

	// renewBefore is how long before its end an authority is replaced at start.
	renewBefore = 30 * 24 * time.Hour
)

// A pair is an authority's certificate and the key that belongs to it.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// serves reports whether the authority may certify all domains for long enough from now.
func (p *pair) serves(domains []string, now time.Time) bool {
	if p.cert.NotAfter.Before(now.Add(renewBefore)) {
		return false
	}
	for _, domain := range domains {
		if !within(domain, p.cert.PermittedDNSDomains) {
			return false
		}
	}
	return true
}

// A store is the folder an authority lives in.
type store struct {
	dir string
	now func() time.Time
}

// load reads the stored authority. It returns nil and no error where there is none, or only
// a key: a making or replacing that was cut short leaves that, and nobody trusts it.
func (s store) load() (*pair, error) {
	certPEM, err := s.read(File)
	if certPEM == nil {
		return nil, err
	}
	keyPEM, err := s.read(keyName)
	if err != nil {
		return nil, err
	}
	if keyPEM == nil {
		return nil, fmt.Errorf("local CA: %q is there but its key is not: want %q beside it, or neither",
			s.path(File), s.path(keyName))
	}
	return s.parse(certPEM, keyPEM)
}

// read returns nil and no error for a file that is not there.
func (s store) read(name string) ([]byte, error) {
	b, err := os.ReadFile(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read local CA: %w", err)
	}
	return b, nil
}

func (s store) parse(certPEM, keyPEM []byte) (*pair, error) {
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return nil, fmt.Errorf("local CA certificate %q: %w", s.path(File), err)
	}
	if err := checkMode(s.path(keyName)); err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("local CA key %q: %w", s.path(keyName), err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("local CA: the key in %q does not belong to the certificate in %q: want a pair, or neither",
			s.path(keyName), s.path(File))
	}
	return &pair{cert: cert, key: key}, nil
}

// parseCertificate takes only what Open itself would have written.
func parseCertificate(b []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != certificateBlock {
		return nil, errors.New("want a PEM certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	if err := cert.CheckSignatureFrom(cert); err != nil {
		return nil, fmt.Errorf("want a self-signed certificate authority: %w", err)
	}
	return cert, nil
}

func parseKey(b []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != keyBlock {
		return nil, errors.New("want a PKCS#8 private key in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("want an ECDSA key on P-256")
	}
	return key, nil
}

// checkMode refuses a key that others may have read. Windows has no such bits; there the
// folder's access list decides.
func checkMode(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("read local CA: %w", err)
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return fmt.Errorf("local CA key %q has mode %04o: want 0600, since whoever reads it can forge our names", path, mode)
	}
	return nil
}

// replace sets aside what is there and makes a new authority. The certificate moves away
// first and arrives last: at every point in between, load sees a lone key or nothing and
// begins again.
func (s store) replace(domains []string) (*pair, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make local CA: %w", err)
	}
	for _, name := range []string{File, keyName} {
		if err := s.setAside(name); err != nil {
			return nil, fmt.Errorf("set old local CA aside: %w", err)
		}
	}
	made, err := newRoot(domains, s.now(), rootAlone)
	if err != nil {
		return nil, fmt.Errorf("make local CA: %w", err)
	}
	if err := s.save(made); err != nil {
		return nil, fmt.Errorf("store local CA: %w", err)
	}
	return made, nil
}

func (s store) setAside(name string) error {
	from := s.path(name)
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	aside := from + ".old-" + s.now().UTC().Format("20060102T150405Z")
	to := aside
	for n := 2; ; n++ {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return err
		}
		to = fmt.Sprintf("%s-%d", aside, n)
	}
	return os.Rename(from, to)
}

func (s store) save(p *pair) error {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return err
	}
	defer clear(der)
	if err := s.write(keyName, 0o600, &pem.Block{Type: keyBlock, Bytes: der}); err != nil {
		return err
	}
	return s.write(File, 0o644, &pem.Block{Type: certificateBlock, Bytes: p.cert.Raw})
}

// write makes the file appear whole or not at all, and stay after a power cut.
func (s store) write(name string, mode fs.FileMode, block *pem.Block) error {
	f, err := os.CreateTemp(s.dir, name+".new-*") // O_EXCL, 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing of that name
	err = errors.Join(f.Chmod(mode), pem.Encode(f, block), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return durable.Rename(f.Name(), s.path(name))
}

func (s store) path(name string) string { return filepath.Join(s.dir, name) }
