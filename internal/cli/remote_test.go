package cli

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A far server answers over HTTPS.
type far struct {
	*httptest.Server
	port, ca string
	seen     []string // host, path, and the token or form of each request
}

func newFar(t *testing.T) *far {
	t.Helper()
	f := &far{}
	f.Server = httptest.NewUnstartedServer(f)
	f.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it are a part of the tests
	f.StartTLS()
	t.Cleanup(f.Close)
	_, f.port, _ = net.SplitHostPort(f.Listener.Addr().String())
	f.ca = filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
	if err := os.WriteFile(f.ca, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// ServeHTTP plays all faces.
func (f *far) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	line := r.Host + r.URL.Path + " " + r.Header.Get("Authorization")
	if strings.HasSuffix(r.URL.Path, "/token") {
		line += r.PostForm.Encode()
	}
	f.seen = append(f.seen, strings.TrimSpace(line))
	switch {
	case r.URL.Path == "/metadata/endpoints":
		fmt.Fprint(w, `{"authentication":{"loginEndpoint":"https://login.example.com"},"suffixes":{"keyVaultDns":".vault.example.com"},"microsoftGraphResourceId":"https://graph.example.com/"}`)
	case strings.HasSuffix(r.URL.Path, "/token"):
		fmt.Fprint(w, `{"access_token":"TOKEN"}`)
	default:
		fmt.Fprint(w, `{"value":[]}`)
	}
}

// client is one whose connections all end at the far server.
func (f *far) client(t *testing.T, environ []string) (*call, *client) {
	t.Helper()
	c := &call{app: &app{environ: environ}, ctx: t.Context()}
	transport := f.Client().Transport.(*http.Transport).Clone()
	dial := (&net.Dialer{}).DialContext
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dial(ctx, network, f.Listener.Addr().String())
	}
	transport.TLSClientConfig.InsecureSkipVerify = true // TestServerByFlag judges certificates
	cl := &client{scheme: "https", http: newHTTPClient(transport)}
	if err := cl.learn(t.Context(), "management.example.com"); err != nil {
		t.Fatal(err)
	}
	cl.token = c.signIn(cl)
	return c, cl
}

func TestClientCredentials(t *testing.T) {
	f := newFar(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, cl := f.client(t, []string{"STRONGROOM_TENANT_ID=T", "STRONGROOM_CLIENT_ID=C", "STRONGROOM_CLIENT_SECRET_FILE=" + secret})
	for range 2 {
		if _, err := cl.list(t.Context(), cl.vault("v"), "/secrets"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cl.list(t.Context(), cl.management(), "/subscriptions"); err != nil {
		t.Fatal(err)
	}
	form := func(resource string) string {
		return url.Values{"client_id": {"C"}, "client_secret": {"s3cret"}, "grant_type": {"client_credentials"}, "scope": {resource + "/.default"}}.Encode()
	}
	diff(t, "requests", f.seen, []string{
		"management.example.com/metadata/endpoints",
		"login.example.com/T/oauth2/v2.0/token " + form("https://vault.example.com"),
		"v.vault.example.com/secrets Bearer TOKEN",
		"v.vault.example.com/secrets Bearer TOKEN",
		"login.example.com/T/oauth2/v2.0/token " + form("https://management.example.com"),
		"management.example.com/subscriptions Bearer TOKEN",
	})
}

func TestManagedIdentity(t *testing.T) {
	var got *http.Request
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		fmt.Fprint(w, `{"access_token":"TOKEN"}`)
	}))
	defer endpoint.Close()
	f := newFar(t)
	_, cl := f.client(t, []string{"IDENTITY_ENDPOINT=" + endpoint.URL + "/msi/token", "IDENTITY_HEADER=h"})
	if _, err := cl.list(t.Context(), cl.vault("v"), "/secrets"); err != nil {
		t.Fatal(err)
	}
	if want := "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fvault.example.com"; got.RequestURI != want || got.Header.Get("X-IDENTITY-HEADER") != "h" {
		t.Errorf("request = %s with %q, want %s with the header", got.RequestURI, got.Header, want)
	}
}

func TestSignInRefused(t *testing.T) {
	for _, tt := range []struct {
		environ []string
		want    string
	}{
		{nil, "no identity to sign in with"},
		{[]string{"STRONGROOM_CLIENT_ID=C"}, "sign in: STRONGROOM_CLIENT_ID is set, STRONGROOM_TENANT_ID or STRONGROOM_CLIENT_SECRET_FILE is not"},
		{[]string{"IDENTITY_ENDPOINT=http://192.0.2.1/x", "IDENTITY_HEADER=h"}, "sign in: IDENTITY_ENDPOINT: want a URL on loopback, or https"},
	} {
		c := &call{app: &app{environ: tt.environ}, ctx: t.Context()}
		if _, err := c.signIn(&client{})(t.Context(), "r"); err == nil || err.Error() != tt.want {
			t.Errorf("sign in with %q = %v, want %q", tt.environ, err, tt.want)
		}
	}
}

func TestLearnPorts(t *testing.T) {
	f := newFar(t)
	cl := &client{scheme: "https", http: newHTTPClient(f.Client().Transport)}
	if err := cl.learn(t.Context(), "127.0.0.1:"+f.port); err != nil {
		t.Fatal(err)
	}
	if got, want := cl.VaultSuffix, "vault.example.com:"+f.port; got != want {
		t.Errorf("vault suffix = %q, want %q", got, want)
	}
}

func TestServerByFlag(t *testing.T) {
	f := newFar(t)
	check(t, run(t, "", "vault", "list", "--server", "https://127.0.0.1:"+f.port, "--ca", f.ca), result{
		1, "",
		"strongroom: no identity to sign in with\nstrongroom: hint: " + signInHint + "\n",
	})
	check(t, run(t, "", "vault", "list", "--server", "https://127.0.0.1:"+f.port), result{
		1, "",
		"strongroom: ask 127.0.0.1:" + f.port + ": tls: failed to verify certificate: x509: certificate signed by unknown authority\n" +
			"strongroom: hint: --ca names the authority to trust; a server's own is ca.pem in its data folder\n",
	})
	check(t, run(t, "", "vault", "list", "--server", "https://127.0.0.1:"+f.port, "--ca", os.DevNull), result{
		1, "",
		"strongroom: read the authority to trust: " + os.DevNull + " holds no certificate in PEM\n",
	})
}
