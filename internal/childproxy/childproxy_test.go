package childproxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

const deadline = 10 * time.Second

// listen opens a proxy whose own names are strongroom.internal and below.
func listen(t *testing.T, o Options) *Proxy {
	t.Helper()
	o.Route = testRoute
	if o.Identity == nil {
		o.Identity = http.NotFoundHandler()
	}
	p, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close = %v, want no error", err)
		}
	})
	return p
}

func testRoute(_ context.Context, host string) Route {
	switch {
	case host == "strongroom.internal", strings.HasSuffix(host, ".strongroom.internal"):
		return Route{Own: true}
	case host == "refused.example":
		return Route{Refusal: "refused.example is not for you"}
	}
	return Route{}
}

// raw sends bytes to the proxy and returns the connection to read from.
func raw(t *testing.T, p *Proxy, request string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// connect opens a tunnel and wants it granted.
func connect(t *testing.T, p *Proxy, authority string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, r := raw(t, p, "CONNECT "+authority+" HTTP/1.1\r\nHost: "+authority+"\r\n\r\n")
	response, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("CONNECT %s = %v, %v; want 200", authority, response, err)
	}
	return conn, r
}

// through is a client that sends everything to the proxy.
func through(t *testing.T, p *Proxy, config *tls.Config) *http.Client {
	t.Helper()
	proxy, err := url.Parse(p.URL())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: deadline}
}

func TestOwnNamesAreHandedOver(t *testing.T) {
	var mu sync.Mutex
	var names []string
	p := listen(t, Options{})
	target := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Host)
	}))
	target.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		mu.Lock()
		defer mu.Unlock()
		names = append(names, hello.ServerName+" "+hello.Conn.(*OwnConn).Host)
		return nil, nil
	}}
	target.Listener.Close()
	target.Listener = p.Own()
	target.StartTLS()
	defer target.Close()
	// The test server's certificate is not for our names; that the tunnel is opaque is the point.
	client := through(t, p, &tls.Config{InsecureSkipVerify: true})
	for _, host := range []string{"dev.vault.strongroom.internal", "login.strongroom.internal:8443", "strongroom.internal", "DEV.Strongroom.internal:1"} {
		response, err := client.Get("https://" + host + "/")
		if err != nil {
			t.Errorf("GET https://%s: %v", host, err)
			continue
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if string(body) != host {
			t.Errorf("GET https://%s reached %q", host, body)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	want := "dev.vault.strongroom.internal login.strongroom.internal strongroom.internal dev.strongroom.internal"
	for i, host := range strings.Fields(want) {
		if !strings.EqualFold(names[i], host+" "+host) {
			t.Errorf("server name and host are %q, want %q twice", names[i], host)
		}
	}
}

func TestOtherNamesAreDialled(t *testing.T) {
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "other") }))
	defer other.Close()
	p := listen(t, Options{})
	client := through(t, p, &tls.Config{InsecureSkipVerify: true})
	response, err := client.Get(other.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); string(body) != "other" {
		t.Errorf("body = %q, want %q", body, "other")
	}
}

func TestPlainRequestIsForwarded(t *testing.T) {
	var got *http.Request
	var sent []byte
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, sent = r, must(io.ReadAll(r.Body))
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.Header().Set("X-End", "1")
		w.WriteHeader(http.StatusTeapot)
	}))
	defer other.Close()
	p := listen(t, Options{})
	_, r := raw(t, p, "POST "+other.URL+"/a%2Fb?q=1;2&api%2Dversion=7 HTTP/1.1\r\nHost: evil.example\r\n"+
		"Connection: X-Private\r\nX-Private: 1\r\nProxy-Authorization: Basic x\r\nProxy-Connection: keep-alive\r\n"+
		"X-Forwarded-For: 192.0.2.1\r\nX-Kept: 1\r\nContent-Length: 4\r\n\r\nbody")
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusTeapot || response.Header.Get("X-Hop") != "" || response.Header.Get("X-End") != "1" {
		t.Errorf("response = %d %v, want 418 without X-Hop, with X-End", response.StatusCode, response.Header)
	}
	if want := "/a%2Fb?q=1;2&api%2Dversion=7"; got.RequestURI != want {
		t.Errorf("target = %q, want %q", got.RequestURI, want)
	}
	if want := strings.TrimPrefix(other.URL, "http://"); got.Host != want || string(sent) != "body" {
		t.Errorf("host %q, body %q; want %q and %q", got.Host, sent, want, "body")
	}
	for name, want := range map[string]string{
		"X-Private": "", "Proxy-Authorization": "", "Proxy-Connection": "", "X-Kept": "1", "X-Forwarded-For": "192.0.2.1",
	} {
		if value := got.Header.Get(name); value != want {
			t.Errorf("header %s = %q, want %q", name, value, want)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestIdentityEndpoint(t *testing.T) {
	endpoint := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Host, " ", r.URL.RequestURI(), " ", r.Header.Get("Metadata"))
	})
	p := listen(t, Options{Identity: endpoint})
	wantStatus, wantBody := http.StatusOK, "169.254.169.254 /metadata/identity?a=b true"
	if runtime.GOOS != "linux" { // the system does not tell whose program asks
		wantStatus, wantBody = http.StatusForbidden, "strongroom: another user's program may not use this proxy\n"
	}
	for name, target := range map[string]string{
		"by the address in clouds": "http://169.254.169.254/metadata/identity?a=b", "by the proxy's own": "/metadata/identity?a=b",
	} {
		_, r := raw(t, p, "GET "+target+" HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\nConnection: close\r\n\r\n")
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		body := must(io.ReadAll(response.Body))
		if response.StatusCode != wantStatus || !strings.HasSuffix(strings.Replace(string(body), "http://169.254.169.254", "", 1), wantBody) {
			t.Errorf("%s: %d %q, want %d %q", name, response.StatusCode, body, wantStatus, wantBody)
		}
	}
}

// A client of another user gets nothing, and one whose user cannot be told neither.
func TestClientsOfOtherUsers(t *testing.T) {
	endpoint := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "in") })
	other := httptest.NewServer(endpoint)
	defer other.Close()
	p := listen(t, Options{Identity: endpoint})
	for _, tt := range []struct {
		url  string
		from client
		want int
	}{
		{"http://169.254.169.254/x", ours, 200},
		{"http://169.254.169.254/x", unknown, 403},
		{"http://169.254.169.254:80/x", unknown, 403},
		{"http://169.254.169.254./x", unknown, 403},
		{"http://169.254.169.254/x", stranger, 403},
		{"/x", ours, 200},
		{"/x", unknown, 403},
		{"/x", stranger, 403},
		{other.URL, ours, 200},
		{other.URL, unknown, 403},
		{other.URL, stranger, 403},
	} {
		w := httptest.NewRecorder()
		ctx := context.WithValue(t.Context(), connKey{}, func() client { return tt.from })
		p.serve(w, httptest.NewRequestWithContext(ctx, "GET", tt.url, nil))
		if w.Code != tt.want {
			t.Errorf("GET %s from client %d = %d %s, want %d", tt.url, tt.from, w.Code, w.Body, tt.want)
		}
	}
}

func TestIdentifyWithoutAddresses(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if got := identify(a); got != unknown {
		t.Errorf("identify = %d, want unknown (%d)", got, unknown)
	}
}

func TestRefusals(t *testing.T) {
	closed := must(net.Listen("tcp", "127.0.0.1:0"))
	gone := closed.Addr().String()
	closed.Close()
	var mu sync.Mutex
	var logged []string
	p := listen(t, Options{Log: func(line string) {
		mu.Lock()
		defer mu.Unlock()
		logged = append(logged, line)
	}})
	own := p.listener.Addr().String()
	port := own[strings.LastIndex(own, ":"):]
	for _, tt := range []struct {
		request string
		status  int
		body    string // a part of it
	}{
		{"GET http://dev.vault.strongroom.internal/ HTTP/1.1\r\nHost: x\r\n\r\n", 403, "dev.vault.strongroom.internal is served over https only"},
		{"GET http://STRONGROOM.INTERNAL.:443/ HTTP/1.1\r\nHost: x\r\n\r\n", 403, "https only"},
		{"GET https://example.com/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "forward proxy"},
		{"GET http:///x HTTP/1.1\r\nHost: example.com\r\n\r\n", 400, ""},
		{"GET http://" + gone + "/ HTTP/1.1\r\nHost: x\r\n\r\n", 502, "cannot reach " + gone},
		{"CONNECT " + gone + " HTTP/1.1\r\nHost: x\r\n\r\n", 502, "cannot reach " + gone},
		{"CONNECT Refused.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", 502, "refused.example is not for you"},
		{"GET http://refused.example./ HTTP/1.1\r\nHost: x\r\n\r\n", 502, "refused.example is not for you"},
		{"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: x\r\n\r\n", 403, "over http only"},
		{"CONNECT " + own + " HTTP/1.1\r\nHost: x\r\n\r\n", 403, "this proxy"},
		{"CONNECT localhost" + port + " HTTP/1.1\r\nHost: x\r\n\r\n", 403, "this proxy"},
		{"CONNECT 0.0.0.0" + port + " HTTP/1.1\r\nHost: x\r\n\r\n", 403, "this proxy"},
		{"CONNECT [::ffff:127.0.0.1]" + port + " HTTP/1.1\r\nHost: x\r\n\r\n", 403, "this proxy"},
		{"GET http://" + own + "/ HTTP/1.1\r\nHost: x\r\n\r\n", 403, "this proxy"},
		{"CONNECT example.com HTTP/1.1\r\nHost: x\r\n\r\n", 400, "want host:port"},
		{"CONNECT example.com:0 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "want host:port"},
		{"CONNECT example.com:99999 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "want host:port"},
		{"CONNECT example.com:https HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
		{"CONNECT :443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "want host:port"},
		{"CONNECT /path HTTP/1.1\r\nHost: x\r\n\r\n", 400, "want host:port"},
		{"CONNECT user@127.0.0.1:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "want host:port"},
		{"CONNECT 127.0.0.1:443/path HTTP/1.1\r\nHost: x\r\n\r\n", 400, "want host:port"},
		{"CONNECT 127.0.0.1:443 x HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
		{"CONNECT HTTP/1.1\r\n\r\n", 400, ""},
		{"CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 400, "with a body"},
		{"CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "with a body"},
		{"GET http://" + gone + "/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, ""},
		{"GET http://" + gone + "/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501, ""},
		{"GET http://" + gone + "/ HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n", 400, ""},
		{"GET http://" + gone + "/ HTTP/1.1\r\nHost: x\r\n folded: 1\r\n\r\n", 400, ""},
		{"GET http://" + gone + "/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, ""},
		{"GET http://" + gone + "/ HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 100<<10) + "\r\n\r\n", 431, ""},
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, ""},
	} {
		shown := tt.request[:min(len(tt.request), 60)]
		_, r := raw(t, p, tt.request)
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Errorf("%q: %v, want %d", shown, err, tt.status)
			continue
		}
		body, _ := io.ReadAll(response.Body)
		if response.StatusCode != tt.status || !strings.Contains(string(body), tt.body) {
			t.Errorf("%q = %d %q, want %d %q", shown, response.StatusCode, body, tt.status, tt.body)
		}
		if lines := strings.Count(strings.TrimSuffix(string(body), "\n"), "\n"); lines > 0 {
			t.Errorf("%q: body %q, want one line", shown, body)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if all := strings.Join(logged, "\n"); strings.Contains(all, "user@") || !strings.Contains(all, "cannot reach "+gone) {
		t.Errorf("log = %q, want the failed dial and no user names", all)
	}
}

// Contradictory framing reaches the far end as one request, framed anew.
func TestSmuggledRequestStaysInside(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprintf("%s %s %q %q", r.Method, r.URL, body, r.Header["Content-Length"]))
	}))
	defer other.Close()
	p := listen(t, Options{})
	_, r := raw(t, p, "POST "+other.URL+"/one HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\nTransfer-Encoding: chunked\r\n"+
		"Connection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /two HTTP/1.1\r\nHost: x\r\n\r\n")
	_, _ = io.ReadAll(r)
	mu.Lock()
	defer mu.Unlock()
	if want := `[POST /one "abc" []]`; fmt.Sprint(seen) != want {
		t.Errorf("far end saw %v, want %s", seen, want)
	}
}

func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	if code == 0 && !settles(before) {
		fmt.Fprintf(os.Stderr, "%d goroutines at the end, want %d\n", runtime.NumGoroutine(), before)
		code = 1
	}
	os.Exit(code)
}

// settles waits until no more than limit goroutines are left.
func settles(limit int) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); time.Now().Before(end); <-tick.C {
		if runtime.NumGoroutine() <= limit {
			return true
		}
	}
	return false
}
