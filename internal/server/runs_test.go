//go:build linux

package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/internal/login"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

// An openedRun is a run as "strongroom run" has it, and the program in it.
type openedRun struct {
	t *testing.T
	login.RunStarted
	client *http.Client
	end    func()

	mu   sync.Mutex
	said []string // guarded by mu
}

// openTestRun asks for a run over the local socket's way, and reads its lines until the test ends.
func openTestRun(t *testing.T, a *app, body string) *openedRun {
	t.Helper()
	resp := a.pipeline.Do(t.Context(), a.faces[resource.Login], &operation.Request{
		Method: "POST", Path: "/runs", Header: http.Header{"Content-Type": {"application/json"}}, Body: strings.NewReader(body),
		Host: a.families[0].LoginHost(), Caller: operation.LocalOwner(), Peer: operation.Peer{Local: true},
	})
	if resp.Status != http.StatusOK {
		t.Fatalf("POST /runs = %d %s", resp.Status, resp.Body)
	}
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	var ended sync.WaitGroup
	ended.Go(func() { resp.Stream(ctx, in); in.Close() })
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	var first login.RunLine
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &first) != nil || first.Started == nil {
		t.Fatalf("the first line is %q", lines.Text())
	}
	r := &openedRun{t: t, RunStarted: *first.Started}
	ended.Go(func() {
		for lines.Scan() {
			var line login.RunLine
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				t.Errorf("line %q: %v", lines.Text(), err)
			}
			r.mu.Lock()
			r.said = append(r.said, line.Say)
			r.mu.Unlock()
		}
	})
	r.end = sync.OnceFunc(func() { cancel(); ended.Wait() })
	t.Cleanup(r.end)
	r.client = r.newClient("")
	return r
}

// newClient trusts the run's authority alone, and goes by its proxy.
func (r *openedRun) newClient(serverName string) *http.Client {
	r.t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(r.CA)) {
		r.t.Fatal("the run has no authority")
	}
	proxy, err := url.Parse(r.Proxy)
	if err != nil {
		r.t.Fatal(err)
	}
	transport := &http.Transport{
		Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: serverName}, ForceAttemptHTTP2: true,
	}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// ask sends a request and returns status and body; status 0 is an error, which is the body then.
func (r *openedRun) ask(method, address, body string, headers ...string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(b) + resp.Header.Get("WWW-Authenticate")
}

// token gets a token as SDKs do by the run's variables.
func (r *openedRun) token(audience, secret string) (int, string) {
	r.t.Helper()
	status, body := (&openedRun{t: r.t, client: http.DefaultClient}).ask("GET",
		r.IdentityEndpoint+"?api-version=2019-08-01&resource="+url.QueryEscape(audience), "", "X-IDENTITY-HEADER", secret)
	var answer struct {
		Token string `json:"access_token"`
	}
	json.Unmarshal([]byte(body), &answer)
	return status, answer.Token
}

// wantSaid waits for a line with a text in it.
func (r *openedRun) wantSaid(text string) {
	r.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) { // polls to the deadline
		r.mu.Lock()
		said := slices.Clone(r.said)
		r.mu.Unlock()
		if slices.ContainsFunc(said, func(line string) bool { return strings.Contains(line, text) }) {
			return
		}
		if time.Now().After(deadline) {
			r.t.Errorf("the run has said %q, want %q", said, text)
			return
		}
	}
}

// A program reaches the vault under Azure's name, with the challenge and ids of that cloud.
func TestRunUnderAzuresNames(t *testing.T) {
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		a := start(t)
		newTranscript(t, a)
		r := openTestRun(t, a, `{"identity":"officer","vaults":{"contoso-payroll":"kv1"}}`)
		const secret = "https://contoso-payroll.vault.azure.net/secrets/db?api-version=7.6"
		challenge := `Bearer authorization="https://login.microsoftonline.com/` + a.deployment.tenant + `", resource="https://vault.azure.net"`
		if status, got := r.ask("PUT", secret, ""); status != 401 || !strings.HasSuffix(got, challenge) {
			t.Errorf("without a token: %d %s, want 401 and %s", status, got, challenge)
		}
		status, token := r.token("https://vault.azure.net", r.Secret)
		if status != 200 {
			t.Fatalf("token: %d", status)
		}
		bearer := []string{"Authorization", "Bearer " + token}
		if status, got := r.ask("PUT", secret, `{"value":"s3cret"}`, bearer...); status != 200 || !strings.Contains(got, `"id":"https://contoso-payroll.vault.azure.net/secrets/db/`) {
			t.Errorf("set: %d %s, want 200 and an id of Azure's name", status, got)
		}
		if status, got := r.ask("GET", "https://KV1.vault.azure.net/secrets/db?api-version=7.6", "", bearer...); status != 200 || !strings.Contains(got, "s3cret") {
			t.Errorf("get by our name: %d %s, want 200", status, got)
		}
		if status, got := r.ask("GET", "https://contoso-payroll.vault.azure.cn/secrets/db?api-version=7.6", "", bearer...); status != 401 {
			t.Errorf("a token of one cloud in another: %d %s, want 401", status, got)
		}
		if status, token := r.token("https://vault.azure.net", r.Secret+"x"); status != 401 || token != "" {
			t.Errorf("token by a wrong secret: %d, want 401", status)
		}
		if status, token := r.token("https://storage.azure.com", r.Secret); status != 200 || token == "" {
			t.Errorf("token for another service: %d, want 200", status)
		}
	})
}

func TestRunRefusesOtherNames(t *testing.T) {
	a := startApp(t, testConfig(t))
	newTranscript(t, a)
	r := openTestRun(t, a, `{"identity":"officer"}`)
	offline := openTestRun(t, a, `{"identity":"officer","offline":true}`)
	for _, tt := range []struct {
		run       *openedRun
		url, said string
	}{
		{r, "https://nope.vault.azure.net/", `nope.vault.azure.net was not reached: there is no vault "nope"; to make it: strongroom vault create nope, or lead it to another`},
		{r, "https://store.blob.core.windows.net/", "store.blob.core.windows.net was not reached: it is Azure's"},
		{r, "http://store.blob.core.windows.net/", "store.blob.core.windows.net was not reached: it is Azure's"},
		{offline, "https://example.com/", "example.com was not reached: this run is offline"},
		{offline, "https://192.0.2.1/", "192.0.2.1 was not reached: this run is offline"},
	} {
		status, got := tt.run.ask("GET", tt.url, "")
		if status != 0 && status != 502 || status == 0 && !strings.Contains(got, "Bad Gateway") {
			t.Errorf("GET %s = %d %s, want 502 of the proxy", tt.url, status, got)
		}
		tt.run.wantSaid(tt.said)
	}
	r.client = r.newClient("other.vault.azure.net")
	if status, got := r.ask("GET", "https://kv1.vault.azure.net/", ""); status != 0 {
		t.Errorf("the name of another vault in the handshake: %d %s, want no answer", status, got)
	}
	r.wantSaid("kv1.vault.azure.net asked for the certificate of another name")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ours") }))
	defer listener.Close()
	conn, err := net.Dial("tcp", strings.TrimPrefix(offline.Proxy, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET http://%s/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", listener.Addr())
	if got, _ := io.ReadAll(conn); !strings.Contains(string(got), "ours") {
		t.Errorf("the program's own machine, offline: %q, want an answer", got)
	}
}

// Two runs do not see one another, and nothing is left of one that has ended.
func TestRunsAreApart(t *testing.T) {
	a := startApp(t, testConfig(t))
	newTranscript(t, a)
	one := openTestRun(t, a, `{"identity":"officer","vault":"kv1"}`)
	two := openTestRun(t, a, `{"identity":"reader","tenant":"72f988bf-86f1-41af-91ab-2d7cd011db47"}`)
	if one.CA == two.CA || one.Secret == two.Secret || one.ClientID == two.ClientID {
		t.Error("two runs share an authority, a secret or an identity")
	}
	if status, _ := one.token("https://vault.azure.net", two.Secret); status != 401 {
		t.Errorf("the secret of another run: %d, want 401", status)
	}
	if status, got := one.ask("GET", "https://whatever.vault.azure.net/", ""); status != 401 || !strings.Contains(got, a.deployment.tenant) {
		t.Errorf("any name in the first run: %d %s, want 401 and the home tenant", status, got)
	}
	if status, got := two.ask("GET", "https://kv1.vault.azure.net/", ""); status != 401 || !strings.Contains(got, "/72f988bf-86f1-41af-91ab-2d7cd011db47\"") {
		t.Errorf("the second run: %d %s, want 401 and its tenant", status, got)
	}
	for _, host := range []string{"management.azure.com", "login.microsoftonline.com", "kv1.vault.azure.net"} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "https://whatever.vault.azure.net/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := one.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("the host %s in a tunnel to another: %d, want 421", host, resp.StatusCode)
		}
	}
	one.end()
	if conn, err := net.Dial("tcp", strings.TrimPrefix(one.Proxy, "http://")); err == nil {
		conn.Close()
		t.Error("the proxy of a run that has ended still listens")
	}
}

// What a run trusts can speak for the names of its families and no others, judged by Go's verifier.
func TestRunAuthorityIsBound(t *testing.T) {
	a := startApp(t, testConfig(t))
	newTranscript(t, a)
	r := openTestRun(t, a, `{"identity":"officer"}`)
	conn, err := tls.Dial("tcp", strings.TrimPrefix(r.Proxy, "http://"), &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		conn.Close()
		t.Error("the proxy speaks TLS without CONNECT")
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(r.CA))
	var chain []*x509.Certificate
	r.client.Transport.(*http.Transport).TLSClientConfig.VerifyConnection = func(s tls.ConnectionState) error {
		chain = s.PeerCertificates
		return nil
	}
	if status, got := r.ask("GET", "https://kv1.vault.azure.net/", ""); status != 401 || len(chain) != 2 {
		t.Fatalf("GET = %d %s, a chain of %d, want 401 and the leaf with the authority below the root", status, got, len(chain))
	}
	if below := chain[1]; !below.IsCA || !below.PermittedDNSDomainsCritical || !slices.Contains(below.PermittedDNSDomains, "vault.azure.net") || !below.MaxPathLenZero {
		t.Errorf("the authority that signs is not bound to the run's names: %q", below.PermittedDNSDomains)
	}
	between := x509.NewCertPool()
	between.AddCert(chain[1])
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: "kv1.vault.azure.net"}); err != nil {
		t.Errorf("the leaf does not hold: %v", err)
	}
}

func TestRunsAreBounded(t *testing.T) {
	a := startApp(t, testConfig(t))
	a.runs.Store(maxRuns)
	_, err := a.openRun(nil, login.RunOptions{Run: &operation.Run{}}, func(string) {})
	if err == nil || a.runs.Load() != maxRuns {
		t.Errorf("one run more: %v, %d are counted", err, a.runs.Load())
	}
	a.runs.Store(0)
	newTranscript(t, a)
	openTestRun(t, a, `{"identity":"officer"}`).end()
	if n := a.runs.Load(); n != 0 {
		t.Errorf("%d runs are counted after the end of one, want none", n)
	}
}

// A program that signs in by itself needs no identity, and gets the token of none.
func TestRunOfOwnSignIn(t *testing.T) {
	a := startApp(t, testConfig(t))
	newTranscript(t, a)
	r := openTestRun(t, a, `{"ownSignIn":true}`)
	if status, token := r.token("https://vault.azure.net", r.Secret); status != 400 || token != "" {
		t.Errorf("managed identity of a run without: %d, want 400", status)
	}
	if status, got := r.ask("GET", "https://kv1.vault.azure.net/", ""); status != 401 {
		t.Errorf("the vault: %d %s, want 401", status, got)
	}
}
