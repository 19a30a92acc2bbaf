//go:build unix

package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"strongroom/internal/childproxy"
)

// A testAuthority is a new certificate authority.
type testAuthority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) testAuthority {
	t.Helper()
	a := testAuthority{key: newKey(t)}
	template := certificateTemplate(name)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	a.cert = sign(t, template, template, a.key, a.key)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func certificateTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
}

func sign(t *testing.T, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (a testAuthority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// serve answers "hello" over TLS under a host name, and returns its address.
func (a testAuthority) serve(t *testing.T, l net.Listener, host string) {
	t.Helper()
	key, template := newKey(t), certificateTemplate(host)
	template.DNSNames, template.ExtKeyUsage = []string{host}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leaf := sign(t, template, a.cert, key, a.key)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw, a.cert.Raw}, PrivateKey: key}}}
	s.Listener.Close()
	s.Listener = l
	s.StartTLS()
	t.Cleanup(s.Close)
}

// The child trusts our authority and all that the user's variables name, each once, in both formats.
func TestRunFiles(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "folder")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	ours, system := newAuthority(t, "ours"), newAuthority(t, "system")
	environ := []string{"NODE_EXTRA_CA_CERTS=" + dir + "/absent", "PIP_CERT=" + folder, "SSL_CERT_DIR=" + dir + "/absent:" + folder}
	want := []testAuthority{system}
	for _, name := range []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"} {
		own := newAuthority(t, name)
		want = append(want, own)
		write(t, filepath.Join(dir, name), "# a comment\n"+system.pem()+own.pem())
		environ = append(environ, name+"="+filepath.Join(dir, name))
	}
	inFolder := newAuthority(t, "folder")
	write(t, filepath.Join(folder, "1234.0"), inFolder.pem()+"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	write(t, filepath.Join(folder, "README"), "no certificate")
	want = append(want, inFolder, ours)

	f, err := makeRunFiles(environ, ours.pem())
	if err != nil {
		t.Fatal(err)
	}
	checkCertificates(t, f.own, read(t, f.own), []testAuthority{ours})
	checkCertificates(t, f.bundle, read(t, f.bundle), want)
	checkJavaStore(t, read(t, f.java), want)
	if info, err := os.Stat(f.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v; want mode 0700", info, err)
	}
	f.remove()
	if fileExists(f.dir) {
		t.Errorf("%s is there after remove", f.dir)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// checkCertificates compares the certificates of a PEM file; those that do not parse are passed over.
func checkCertificates(t *testing.T, what string, text []byte, want []testAuthority) {
	t.Helper()
	var got []string
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			got = append(got, cert.Subject.CommonName)
		}
	}
	diff(t, what, got, commonNames(want))
}

func commonNames(list []testAuthority) (names []string) {
	for _, a := range list {
		names = append(names, a.cert.Subject.CommonName)
	}
	return names
}

// checkJavaStore reads the format as Java does, the digest included.
func checkJavaStore(t *testing.T, store []byte, want []testAuthority) {
	t.Helper()
	body, digest := store[:len(store)-sha1.Size], store[len(store)-sha1.Size:]
	h := sha1.New()
	for _, c := range "changeit" {
		h.Write([]byte{0, byte(c)})
	}
	io.WriteString(h, "Mighty Aphrodite")
	h.Write(body)
	if !bytes.Equal(h.Sum(nil), digest) {
		t.Error("the digest of the trust store is wrong")
	}
	r := bytes.NewReader(body)
	number := func() (n uint32) { _ = binary.Read(r, binary.BigEndian, &n); return n }
	take := func(n int) []byte { b := make([]byte, n); _, _ = io.ReadFull(r, b); return b }
	text := func() string { return string(take(int(binary.BigEndian.Uint16(take(2))))) }
	if magic, version, count := number(), number(), number(); magic != 0xfeedfeed || version != 2 || int(count) != len(want) {
		t.Fatalf("head of the trust store = %x, %d, %d entries; want feedfeed, 2, %d entries", magic, version, count, len(want))
	}
	var names, aliases []string
	for range want {
		tag, alias := number(), text()
		take(8)
		kind, der := text(), take(int(number()))
		cert, err := x509.ParseCertificate(der)
		if err != nil || tag != 2 || kind != "X.509" || slices.Contains(aliases, alias) {
			t.Fatalf("entry %q: tag %d, kind %q, %v; want 2, X.509 and a certificate", alias, tag, kind, err)
		}
		names, aliases = append(names, cert.Subject.CommonName), append(aliases, alias)
	}
	diff(t, "trust store", names, commonNames(want))
	if r.Len() != 0 {
		t.Errorf("%d bytes behind the last entry", r.Len())
	}
}

// tlsClients fetch the URL in their last argument, each with what its runtime trusts.
var tlsClients = []struct {
	name, program string
	args          []string
	spoiled       []string // what the user has set, which leads past the run's authority
}{
	{"curl", "curl", []string{"-sS"}, []string{"CURL_CA_BUNDLE=$other", "SSL_CERT_DIR=$dir"}},
	{"python", "python3", []string{"-c", "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"}, []string{"SSL_CERT_DIR=$dir"}},
	{"node", "node", []string{"-e", nodeFetch}, []string{"NODE_EXTRA_CA_CERTS=$other"}},
	{"java", "java", []string{"$dir/Fetch.java"}, []string{"JDK_JAVA_OPTIONS=-Djavax.net.ssl.trustStore=$dir/none.jks"}},
}

// nodeFetch opens the tunnel by itself: Node's own client knows no proxies.
const nodeFetch = `
const url = new URL(process.argv[1]), proxy = new URL(process.env.HTTPS_PROXY);
require("http").request({ host: proxy.hostname, port: proxy.port, method: "CONNECT", path: url.hostname + ":443" })
	.on("connect", (_, socket) => require("https").get(url, { createConnection: () => require("tls").connect({ socket, servername: url.hostname }) },
		r => { r.pipe(process.stdout); r.on("end", () => process.exit(0)) })).end();`

const javaFetch = `
import java.net.URI;
import java.net.http.*;

class Fetch {
	public static void main(String[] args) throws Exception {
		var request = HttpRequest.newBuilder(URI.create(args[0])).build();
		System.out.print(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
	}
}`

// Programs of several runtimes reach a server under the run's names with the run's environment
// and nothing else, whatever the user's own says. Those that the machine lacks are left out.
func TestRuntimesTrustTheRun(t *testing.T) {
	ours, other, dir := newAuthority(t, "ours"), newAuthority(t, "other"), t.TempDir()
	write(t, filepath.Join(dir, "other.pem"), other.pem())
	write(t, filepath.Join(dir, "Fetch.java"), javaFetch)
	proxy, err := childproxy.Listen(childproxy.Options{
		Route: func(context.Context, string) childproxy.Route { return childproxy.Route{Own: true} }, Identity: http.NotFoundHandler(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	ours.serve(t, proxy.Own(), "dev.vault.run.test")
	grant := testGrant
	grant.Proxy = proxy.URL()
	words := strings.NewReplacer("$dir", dir, "$other", filepath.Join(dir, "other.pem"))
	for _, tt := range tlsClients {
		t.Run(tt.name, func(t *testing.T) {
			file, err := exec.LookPath(tt.program)
			if err != nil {
				t.Skipf("no %s on this machine", tt.program)
			}
			environ := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
			for _, entry := range tt.spoiled {
				environ = append(environ, words.Replace(entry))
			}
			files, err := makeRunFiles(environ, ours.pem())
			if err != nil {
				t.Fatal(err)
			}
			defer files.remove()
			cmd := exec.CommandContext(t.Context(), file, append(slices.Clone(tt.args), "https://dev.vault.run.test/")...)
			cmd.Env = runEnviron(environ, runFacts{runGrant: grant, vault: "dev", files: files})
			for i := range cmd.Args {
				cmd.Args[i] = words.Replace(cmd.Args[i])
			}
			var errs bytes.Buffer
			cmd.Stderr = &errs
			if out, err := cmd.Output(); err != nil || strings.TrimSpace(string(out)) != "hello" {
				t.Errorf("%s = %q, %v, want hello\n%s", tt.program, out, err, errs.String())
			}
		})
	}
}

// Where there is no authority but ours, it is known.
func TestRunFilesAlone(t *testing.T) {
	ours, dir := newAuthority(t, "ours"), t.TempDir()
	write(t, filepath.Join(dir, "system"), ours.pem())
	defer func(were []string) { systemBundles = were }(systemBundles)
	systemBundles = nil
	for environ, want := range map[string]bool{"SSL_CERT_FILE=": true, "PIP_CERT=" + filepath.Join(dir, "system"): false} {
		f, err := makeRunFiles([]string{environ}, ours.pem())
		if err != nil {
			t.Fatal(err)
		}
		if f.remove(); f.alone != want {
			t.Errorf("with %s: alone %v, want %v", environ, f.alone, want)
		}
	}
}

// What the user might trust and the program does not is said.
func TestTellChanges(t *testing.T) {
	for _, tt := range []struct {
		environ []string
		files   runFiles
		want    string
	}{
		{[]string{"JAVA_TOOL_OPTIONS=-Xmx1g -Djavax.net.ssl.trustStore=/mine"}, runFiles{}, "strongroom: the trust store of JAVA_TOOL_OPTIONS is not used by the program: Java trusts the system's authorities and the server's\n"},
		{[]string{"JAVA_TOOL_OPTIONS=-Xmx1g"}, runFiles{}, ""},
		{nil, runFiles{alone: true}, "strongroom: this machine has no bundle of authorities: the program trusts the server's alone\n"},
	} {
		var errs bytes.Buffer
		c := &call{app: &app{environ: tt.environ, errs: &errs}}
		c.tellChanges(tt.files)
		if errs.String() != tt.want {
			t.Errorf("tellTrust with %q = %q, want %q", tt.environ, errs.String(), tt.want)
		}
	}
}
