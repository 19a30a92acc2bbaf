package localca

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var testDomains = []string{"localhost", "strongroom.internal"}

func open(t *testing.T, dir string, domains []string, now func() time.Time) *CA {
	t.Helper()
	ca, err := Open(dir, domains, now)
	if err != nil {
		t.Fatalf("Open(%q) = %v, want no error", domains, err)
	}
	ca.Default = "portal.localhost"
	ca.Wildcards = []string{"*.vault.localhost", "*.vault.strongroom.internal"}
	return ca
}

func get(t *testing.T, ca *CA, serverName string) *tls.Certificate {
	t.Helper()
	cert, err := ca.GetCertificate(&tls.ClientHelloInfo{ServerName: serverName})
	if err != nil {
		t.Fatalf("GetCertificate(%q) = %v, want no error", serverName, err)
	}
	return cert
}

func TestGetCertificate(t *testing.T) {
	ca := open(t, t.TempDir(), testDomains, time.Now)
	for _, tt := range []struct{ serverName, want, err string }{ // want: the name in the certificate
		{serverName: "dev.vault.localhost", want: "*.vault.localhost"},
		{serverName: "DEV.Vault.Localhost", want: "*.vault.localhost"},
		{serverName: "dev.vault.strongroom.internal", want: "*.vault.strongroom.internal"},
		{serverName: "login.localhost", want: "login.localhost"},
		{serverName: "login.localhost.", want: "login.localhost"},
		{serverName: "vault.localhost", want: "vault.localhost"},
		{serverName: "a.b.vault.localhost", want: "a.b.vault.localhost"},
		{serverName: "localhost", want: "localhost"},
		{serverName: "", want: "portal.localhost"},
		{serverName: "example.com", err: `server name "example.com": want a name in localhost, strongroom.internal`},
		{serverName: "evillocalhost", err: "want a name in"},
		{serverName: "localhost.example.com", err: "want a name in"},
		{serverName: "127.0.0.1", err: "want a host name"},
		{serverName: "*.localhost", err: "want a host name"},
		{serverName: "a..localhost", err: "want a host name"},
		{serverName: "a\nb.localhost", err: "server name of 13 bytes: want a host name"},
		{serverName: strings.Repeat("a.", 130) + "localhost", err: "want a host name"},
	} {
		cert, err := ca.GetCertificate(&tls.ClientHelloInfo{ServerName: tt.serverName})
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("GetCertificate(%q) = %v, want error with %q", tt.serverName, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("GetCertificate(%q) = %v, want no error", tt.serverName, err)
			continue
		}
		if got := cert.Leaf.DNSNames; !slices.Equal(got, []string{tt.want}) {
			t.Errorf("GetCertificate(%q) names %q, want %q", tt.serverName, got, tt.want)
		}
		if tt.serverName != "" {
			verify(t, ca, cert.Leaf, strings.TrimSuffix(tt.serverName, "."))
		}
	}
}

func verify(t *testing.T, ca *CA, leaf *x509.Certificate, name string) {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca.CertificatePEM()) {
		t.Fatal("CertificatePEM is not a certificate")
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: ca.now()})
	if err != nil {
		t.Errorf("verify %q: %v", name, err)
	}
}

func TestDefaultIsFirstDomain(t *testing.T) {
	ca, err := Open(t.TempDir(), testDomains, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, ca, "").Leaf.DNSNames[0]; got != "localhost" {
		t.Errorf("without server name and Default: %q, want %q", got, "localhost")
	}
}

// A root that leaks must not be able to speak for names, or addresses, outside its domains.
func TestRootIsConstrained(t *testing.T) {
	ca := open(t, t.TempDir(), []string{"vault.example"}, time.Now)
	if !ca.cert.PermittedDNSDomainsCritical || !ca.cert.MaxPathLenZero || !ca.cert.IsCA {
		t.Errorf("root: critical constraints %v, no intermediates %v, CA %v; want all true",
			ca.cert.PermittedDNSDomainsCritical, ca.cert.MaxPathLenZero, ca.cert.IsCA)
	}
	if got := fmt.Sprint(ca.cert.ExcludedIPRanges); got != "[0.0.0.0/0 ::/0]" {
		t.Errorf("root excludes the addresses %s, want all", got)
	}
	for _, name := range []string{"example", "login.microsoftonline.com", "*.example"} {
		forged, err := (&pair{cert: ca.cert, key: ca.key}).newLeaf(name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(ca.cert)
		if _, err := forged.cert.Verify(x509.VerifyOptions{Roots: roots}); err == nil {
			t.Errorf("a certificate for %q verifies, want it refused", name)
		}
	}
}

func TestLeafForm(t *testing.T) {
	ca := open(t, t.TempDir(), testDomains, time.Now)
	leaf := get(t, ca, "login.localhost").Leaf
	if got, want := leaf.NotAfter.Sub(leaf.NotBefore), leafLife+backdate; got != want {
		t.Errorf("life = %v, want %v", got, want)
	}
	if leaf.KeyUsage != x509.KeyUsageDigitalSignature || len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Errorf("usage = %v %v, want digital signature, server authentication", leaf.KeyUsage, leaf.ExtKeyUsage)
	}
	if len(leaf.SubjectKeyId) != 20 || string(leaf.AuthorityKeyId) != string(ca.cert.SubjectKeyId) {
		t.Errorf("key ids = %x and %x, want 20 bytes and the root's %x", leaf.SubjectKeyId, leaf.AuthorityKeyId, ca.cert.SubjectKeyId)
	}
}

func TestRenewal(t *testing.T) {
	clock := time.Now()
	ca := open(t, t.TempDir(), testDomains, func() time.Time { return clock })
	first := get(t, ca, "login.localhost")
	clock = clock.Add(leafLife * 60 / 100)
	if got := get(t, ca, "login.localhost"); got != first {
		t.Error("after 54 days: another certificate, want the first")
	}
	clock = clock.Add(leafLife * 10 / 100)
	second := get(t, ca, "login.localhost")
	if second == first {
		t.Error("after 63 days: the first certificate, want another")
	}
	verify(t, ca, second.Leaf, "login.localhost")

	clock = ca.cert.NotAfter.Add(-time.Hour)
	last := get(t, ca, "login.localhost")
	if !last.Leaf.NotAfter.Equal(ca.cert.NotAfter) {
		t.Errorf("last certificate ends %v, want with the authority at %v", last.Leaf.NotAfter, ca.cert.NotAfter)
	}
	clock = ca.cert.NotAfter.Add(-time.Minute)
	if got := get(t, ca, "login.localhost"); got != last {
		t.Error("in the last minute: another certificate, want the last")
	}
}

func TestCacheIsBounded(t *testing.T) {
	ca := open(t, t.TempDir(), testDomains, time.Now)
	first := get(t, ca, "first.localhost")
	for i := range maxLeaves + 20 {
		get(t, ca, fmt.Sprintf("n%d.localhost", i))
		if get(t, ca, "first.localhost") != first {
			t.Fatalf("after %d names the one in use was dropped", i+1)
		}
	}
	if got := len(ca.leaves); got != maxLeaves {
		t.Errorf("cache holds %d names, want %d", got, maxLeaves)
	}
}

func TestConcurrentCallersShareOneCertificate(t *testing.T) {
	ca := open(t, t.TempDir(), testDomains, time.Now)
	got := make([]*tls.Certificate, 16)
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() { got[i], _ = ca.GetCertificate(&tls.ClientHelloInfo{ServerName: "login.localhost"}) })
	}
	all.Wait()
	for i, cert := range got {
		if cert == nil || cert != got[0] {
			t.Errorf("caller %d got %p, want %p", i, cert, got[0])
		}
	}
}

// The strict mode is what Python 3.13 and newer switch on.
func TestOpenSSLVerifies(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is not installed")
		}
		t.Skip("openssl is not installed")
	}
	dir := t.TempDir()
	ca := open(t, dir, testDomains, time.Now)
	for _, name := range []string{"login.localhost", "dev.vault.strongroom.internal"} {
		leafFile := filepath.Join(dir, "leaf.pem")
		block := &pem.Block{Type: certificateBlock, Bytes: get(t, ca, name).Certificate[0]}
		if err := os.WriteFile(leafFile, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(openssl, "verify", "-x509_strict", "-purpose", "sslserver",
			"-verify_hostname", name, "-CAfile", filepath.Join(dir, File), leafFile).CombinedOutput()
		if err != nil {
			t.Errorf("openssl verify %s: %v\n%s", name, err, out)
		}
	}
}

func TestHandshake(t *testing.T) {
	ca := open(t, t.TempDir(), testDomains, time.Now)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.CertificatePEM())
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: ca.GetCertificate})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake() // the client reports what went wrong
			conn.Close()
		}
	}()
	for name, want := range map[string]bool{"dev.vault.localhost": true, "login.localhost": true, "example.com": false} {
		conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{RootCAs: roots, ServerName: name})
		if got := err == nil; got != want {
			t.Errorf("handshake for %q: %v, want success %v", name, err, want)
		}
		if err == nil {
			conn.Close()
		}
	}
}

func skipWithoutModes(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no mode bits")
	}
}

// A run's authority signs by one below its root, which is bound to the domains.
func TestInMemory(t *testing.T) {
	ca, err := InMemory([]string{"vault.azure.net", "login.microsoftonline.com"}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	ca.Wildcards = []string{"*.vault.azure.net"}
	served := get(t, ca, "contoso-payroll.vault.azure.net")
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca.CertificatePEM()) || len(served.Certificate) != 2 {
		t.Fatalf("a chain of %d, want the leaf and what signs it", len(served.Certificate))
	}
	below, err := x509.ParseCertificate(served.Certificate[1])
	if err != nil {
		t.Fatal(err)
	}
	between.AddCert(below)
	verified := func(leaf *x509.Certificate, name string) error {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name})
		return err
	}
	if err := verified(served.Leaf, "contoso-payroll.vault.azure.net"); err != nil {
		t.Errorf("verify: %v", err)
	}
	for _, name := range []string{"example.com", "login.live.com", "azure.net"} {
		forged, err := (&pair{cert: ca.cert, key: ca.key}).newLeaf(name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := verified(forged.cert, name); err == nil {
			t.Errorf("a certificate for %s holds", name)
		}
		if _, err := ca.GetCertificate(&tls.ClientHelloInfo{ServerName: name}); err == nil {
			t.Errorf("a certificate for %s is made", name)
		}
	}
	another, err := (&pair{cert: ca.cert, key: ca.key}).newAuthority([]string{"example.com"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := another.newLeaf("example.com", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	between.AddCert(another.cert)
	if err := verified(leaf.cert, "example.com"); err == nil {
		t.Error("an authority below that one holds")
	}
	if !ca.root.Equal(mustParse(t, ca.CertificatePEM())) || ca.root.MaxPathLen != 1 || !below.MaxPathLenZero {
		t.Error("the root may sign one authority, which may sign leaves alone")
	}
}

func mustParse(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
