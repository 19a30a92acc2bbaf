package localca

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// Files serves the certificate and key that the operator keeps in two files. It may be
// shared; a handshake during Reload gets the old pair or the new one, never a mixture.
type Files struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// LoadFiles reads a PEM certificate chain, the server's own first, and its unencrypted PEM
// key. Dates are not judged: see NotAfter.
func LoadFiles(certFile, keyFile string) (*Files, error) {
	f := &Files{certFile: certFile, keyFile: keyFile}
	if err := f.Reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// GetCertificate is for tls.Config. Every server name gets the same certificate.
func (f *Files) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.current.Load(), nil
}

// NotAfter is when the certificate being served ends.
func (f *Files) NotAfter() time.Time { return f.current.Load().Leaf.NotAfter }

// Reload reads the files again. If they cannot be served, the pair read before stays and the
// error names the file and what was wanted of it: so a renewal caught between its two files
// does no harm.
func (f *Files) Reload() error {
	certPEM, err := readPEM("TLS certificate", f.certFile)
	if err != nil {
		return err
	}
	if !hasBlock(certPEM, func(b *pem.Block) bool { return b.Type == certificateBlock }) {
		return fmt.Errorf("TLS certificate file %q: want PEM certificates, the server's own first", f.certFile)
	}
	keyPEM, err := readPEM("TLS key", f.keyFile)
	if err != nil {
		return err
	}
	defer clear(keyPEM)
	if err := checkKeyPEM(f.keyFile, keyPEM); err != nil {
		return err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("TLS certificate file %q and key file %q: want a pair: %w", f.certFile, f.keyFile, err)
	}
	f.current.Store(&cert)
	return nil
}

func readPEM(what, path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s file: %w", what, err) // os names the path
	}
	return b, nil
}

func checkKeyPEM(path string, b []byte) error {
	if hasBlock(b, isEncrypted) {
		return fmt.Errorf("TLS key file %q is encrypted: want a key without passphrase", path)
	}
	if !hasBlock(b, func(b *pem.Block) bool { return strings.HasSuffix(b.Type, keyBlock) }) {
		return fmt.Errorf("TLS key file %q: want a PEM private key (PKCS#8, PKCS#1 or SEC 1)", path)
	}
	return nil
}

// isEncrypted knows PKCS#8's own block and the older form that says so in a header.
func isEncrypted(b *pem.Block) bool {
	return b.Type == "ENCRYPTED "+keyBlock || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED")
}

func hasBlock(b []byte, match func(*pem.Block) bool) bool {
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(bytes.TrimSpace(rest)) {
		if match(block) {
			return true
		}
	}
	return false
}
