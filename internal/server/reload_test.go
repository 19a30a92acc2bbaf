//go:build unix

package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestCertificatesAreReloaded serves given TLS files, replaces them, and sends SIGHUP: new
// connections get the new certificate, and a bad pair changes nothing.
func TestCertificatesAreReloaded(t *testing.T) {
	cfg := testConfig(t)
	startApp(t, cfg).close()
	dir := t.TempDir()
	cfg.TLS.CertificateFile, cfg.TLS.KeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cfg.TLS.CertificateFile, cfg.TLS.KeyFile, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen = l.Addr().String()
	l.Close()

	ctx, stop := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{Config: cfg, Stderr: io.Discard}, func(Ready) { close(ready) })
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	if got := servedSerial(t, cfg.Listen); got != 1 {
		t.Fatalf("the first certificate has serial %d, want 1", got)
	}
	write(t, cfg.TLS.CertificateFile, "no certificate")
	hangUp(t)
	writePair(t, cfg.TLS.CertificateFile, cfg.TLS.KeyFile, 2)
	deadline := time.Now().Add(10 * time.Second)
	for servedSerial(t, cfg.Listen) != 2 {
		if time.Now().After(deadline) {
			t.Fatal("the new certificate was not served within ten seconds")
		}
		hangUp(t)
		time.Sleep(10 * time.Millisecond) // a poll to a deadline
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func hangUp(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

func servedSerial(t *testing.T, address string) int64 {
	t.Helper()
	// The certificate is looked at, not trusted.
	c, err := tls.Dial("tcp", address, &tls.Config{ServerName: "login.localhost", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func writePair(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"login.localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}
