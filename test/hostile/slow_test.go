//go:build unix

package hostile

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"strongroom/test/served"
)

// cutOff is within what time a slow client must be gone where the timeouts are two seconds: some
// more than two of them, since a busy machine is slow itself.
const cutOff = 8 * time.Second

// A dawdler is a client that is slow in some way.
type dawdler struct {
	name   string
	tls    bool
	say    string // at once
	drip   string // then, a byte at a time
	status []int  // of the answer, where one has to come; nil where none need
}

// TestSlowClients has all dawdlers connected at once, and wants each to be cut off.
func TestSlowClients(t *testing.T) {
	d := start(t, "limits.header_timeout=2s", "limits.body_timeout=2s", "limits.idle_timeout=2s")
	long := strings.Repeat("a", 1000)
	set := func(headers ...string) string { return request(setTarget, headers...) }
	dawdlers := []dawdler{
		{"says nothing", false, "", "", nil},
		{"says nothing after the handshake", true, "", "", nil},
		{"TLS hello", false, "\x16\x03\x01\x02\x00", long, nil},
		{"request line", true, "", "GET /" + long, nil},
		{"headers", true, "GET / HTTP/1.1\r\n", "X: " + long, nil},
		{"many headers", true, "GET / HTTP/1.1\r\n", strings.Repeat("X: y\r\n", 500), nil},
		{"idle after an answer", true, request("GET /secrets"), "", []int{401}},
		{"second headers", true, request("GET /secrets"), "GET / HTTP/1.1\r\nX: " + long, []int{401}},
		{"body", true, set(d.allow(), "Content-Length: 1000"), " " + long, []int{400, 408}},
		{"body in chunks", true, set(d.allow(), "Transfer-Encoding: chunked"), strings.Repeat("1\r\n \r\n", 500), []int{400, 408}},
		{"no body", true, set(d.allow(), "Content-Length: 1000"), "", []int{400, 408}},
		{"body without a token", true, set("Content-Length: 1000"), long, []int{401}},
		{"body in chunks without a token", true, set("Transfer-Encoding: chunked"), strings.Repeat("1\r\n \r\n", 500), []int{401}},
		{"no body without a token", true, set("Content-Length: 1000"), "", []int{401}},
		{"no body for a read", true, request("GET /secrets/kept?api-version=7.6", d.allow(), "Content-Length: 1000"), "", []int{200}},
		{"body of a sign-in", true, bare("POST /adfs/oauth2/token HTTP/1.1", "Host: login.localhost", "Content-Length: 1000"), long, nil},
		{"body to an unknown host", true, bare("PUT / HTTP/1.1", "Host: example.com", "Content-Length: 1000"), long, []int{421}},
		{"body behind an expectation", true, set(d.allow(), "Content-Length: 1000", "Expect: 100-continue"), "", []int{400, 408}},
	}
	var all sync.WaitGroup
	results := make([]result, len(dawdlers))
	for i, w := range dawdlers {
		c := d.connect(w.tls)
		all.Go(func() { results[i] = w.dawdle(c) })
	}
	d.prompts(5, "while others are slow")
	all.Wait()
	for i, w := range dawdlers {
		t.Run(w.name, func(t *testing.T) { w.check(t, results[i]) })
	}
	d.unchanged("slow clients")
}

// connect opens a connection, with TLS or as it is.
func (d *deployment) connect(withTLS bool) net.Conn {
	d.t.Helper()
	if withTLS {
		return d.dial("http/1.1")
	}
	c, err := net.DialTimeout("tcp", d.Listen, patience)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	return c
}

type result struct {
	answer answer
	took   time.Duration
	closed bool
}

func (w dawdler) dawdle(c net.Conn) (r result) {
	defer c.Close()
	go func() {
		io.WriteString(c, w.say)
		drip(c, w.drip)
	}()
	r.answer, r.took, r.closed = untilClosed(c)
	return r
}

func (w dawdler) check(t *testing.T, r result) {
	t.Helper()
	if !r.closed || r.took > cutOff {
		t.Errorf("cut off: %v, after %v; want it within %v", r.closed, r.took.Round(time.Millisecond), cutOff)
	}
	if w.status != nil && !slices.Contains(w.status, r.answer.status) {
		t.Errorf("got %d %s, want one of %v", r.answer.status, r.answer.body, w.status)
	}
}

// TestSlowBodiesHoldUpNobody has more callers with a token dawdle over their bodies than the
// server has connections to its database.
func TestSlowBodiesHoldUpNobody(t *testing.T) {
	d := start(t, "limits.body_timeout=5s")
	var all sync.WaitGroup
	for range 100 {
		c := d.dial("http/1.1")
		if _, err := io.WriteString(c, request(setTarget, d.allow(), "Content-Length: 1000")+"{"); err != nil {
			t.Fatal(err)
		}
		all.Go(func() { next(bufio.NewReader(c), false); c.Close() })
	}
	d.prompts(5, "while bodies are slow")
	all.Wait()
	d.prompts(1, "after slow bodies")
	d.unchanged("slow bodies of callers")
}

// TestSlowReaders ask for more than fits between here and there, and read nothing: they are cut
// off, and the others are answered meanwhile.
func TestSlowReaders(t *testing.T) {
	d := start(t, "limits.request_timeout=2s")
	open := d.sockets()
	for range 4 {
		c := d.connect(false)
		if err := c.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		go io.WriteString(tls.Client(c, d.trust("http/1.1")), strings.Repeat(request("GET /secrets"), 20000))
	}
	d.prompts(5, "while others do not read")
	if !served.Poll(patience, func() bool { return d.sockets() <= open+2 }) {
		t.Errorf("the server still has %d more connections than before", d.sockets()-open)
	}
	d.unchanged("slow readers")
}

// TestSlowBodyHTTP2 dawdles on a stream: it ends, and the connection goes on.
func TestSlowBodyHTTP2(t *testing.T) {
	d := start(t, "limits.body_timeout=2s")
	client := d.http2Client()
	for _, tt := range []struct {
		token string
		want  []int
	}{{d.token, []int{400, 408}}, {"x", []int{401}}} {
		r, w := io.Pipe()
		go drip(w, strings.Repeat(" ", 300))
		req, err := http.NewRequest(http.MethodPut, "https://dev.vault.localhost/secrets/kept?api-version=7.6", r)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+tt.token)
		began := time.Now()
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("a slow stream: %v, want an answer", err)
			continue
		}
		resp.Body.Close()
		r.Close()
		if took := time.Since(began); !slices.Contains(tt.want, resp.StatusCode) || took > cutOff {
			t.Errorf("a slow stream got %d after %v, want one of %v within %v", resp.StatusCode, took, tt.want, cutOff)
		}
	}
	d.unchanged("slow streams")
}

// TestConnectionLimit takes up all connections that the server allows: the next one waits, and is
// answered when an idle one has been closed.
func TestConnectionLimit(t *testing.T) {
	d := start(t, "limits.connections=30", "limits.header_timeout=2s")
	for range 30 {
		d.connect(false)
	}
	began := time.Now()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", d.Listen, d.trust("http/1.1"))
	if err != nil {
		t.Fatalf("no connection after %v: %v", time.Since(began), err)
	}
	c.Close()
	if took := time.Since(began); took > cutOff {
		t.Errorf("a connection waited %v, want at most %v", took, cutOff)
	}
	d.prompts(3, "after the limit of connections")
	d.unchanged("the limit of connections")
}
