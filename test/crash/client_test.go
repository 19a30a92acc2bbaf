//go:build unix

package crash

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"strongroom/test/served"
)

// A request is what a client asks. Its host names the face.
type request struct {
	op                       string // the operation's name, as docs/api.md has it
	method, host, path, body string
	url                      string            // instead of host and path, where plain HTTP is spoken
	header                   map[string]string // beside the correlation id
	also                     int               // a status beside success that is right too
	during                   func(line []byte) // what to do with the first line of an answer that goes on; it ends then
}

// A told is what the client of one request was told.
type told struct {
	op          string
	correlation string // chosen by the client: it finds the entry, answered or not
	requestID   string // chosen by the server
	status      int    // 0: no answer came, or not all of it
	unchanged   bool   // a 503 that promises that nothing was changed
	writes      bool   // not by GET or HEAD
	attempts    int    // how often net/http sent it: 0 when nobody listened, and a GET again when a kept connection was dead
}

// answered says whether the client knows the outcome. After a 5xx it does not.
func (t *told) answered() bool { return t.status != 0 && t.status < 500 }

// succeeded says whether the client may rely on what it asked for.
func (t *told) succeeded() bool { return t.status >= 200 && t.status < 300 }

// A client sends the requests of all writers and readers and notes what each was told. Any
// goroutine may use it.
type client struct {
	s     *served.Server
	plain *http.Client // for the managed identity endpoint
	began string       // makes correlation ids of this run of the test its own

	mu        sync.Mutex
	number    int
	told      []*told        // guarded by mu; since the last take
	succeeded map[string]int // guarded by mu; by operation
}

func newClient(s *served.Server) *client {
	return &client{
		s: s, plain: &http.Client{Timeout: 40 * time.Second},
		began: fmt.Sprintf("t%x", time.Now().UnixNano()), succeeded: map[string]int{},
	}
}

// send asks, and waits for the whole answer.
func (c *client) send(r request) (*told, []byte) {
	c.mu.Lock()
	c.number++
	t := &told{op: r.op, writes: r.method != http.MethodGet && r.method != http.MethodHead, correlation: fmt.Sprintf("%s-%d", c.began, c.number)}
	c.told = append(c.told, t)
	c.mu.Unlock()
	attempts, status, requestID, body := c.exchange(r, t.correlation)
	c.mu.Lock()
	defer c.mu.Unlock()
	t.status, t.requestID, t.attempts = status, requestID, attempts
	t.unchanged = status == http.StatusServiceUnavailable && strings.Contains(string(body), "nothing was changed")
	if t.succeeded() || r.also != 0 && t.status == r.also {
		c.succeeded[r.op]++
	}
	return t, body
}

func (c *client) exchange(r request, correlation string) (attempts, status int, requestID string, body []byte) {
	client, url := c.s.Client(), r.url
	if url == "" {
		url = "http://" + r.host + r.path
	} else {
		client = c.plain
	}
	var written atomic.Int32
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { written.Add(1) },
	})
	req, err := http.NewRequestWithContext(ctx, r.method, url, strings.NewReader(r.body))
	if err != nil {
		panic(err) // the mix is wrong
	}
	req.Header.Set("x-ms-client-request-id", correlation)
	for key, value := range r.header {
		req.Header.Set(key, value)
	}
	ask := served.Do
	if r.during != nil {
		ask = r.oneLine
	}
	resp, body, err := ask(client, req)
	if err != nil {
		return int(written.Load()), 0, "", nil // half an answer is none
	}
	return int(written.Load()), resp.StatusCode, resp.Header.Get("x-ms-request-id"), body
}

// oneLine reads the first line of an answer that goes on until nobody takes it.
func (r request) oneLine(client *http.Client, req *http.Request) (resp *http.Response, line []byte, err error) {
	if resp, err = client.Do(req); err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if line, err = bufio.NewReader(resp.Body).ReadBytes('\n'); err == nil && resp.StatusCode == http.StatusOK {
		r.during(line)
	}
	if errors.Is(err, io.EOF) && resp.StatusCode != http.StatusOK {
		err = nil // a refusal has no line's end
	}
	return resp, line, err
}

// take gives what clients were told since the last time.
func (c *client) take() []*told {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.told
	c.told = nil
	return out
}

// missing are the operations that no client has had a success of yet.
func (c *client) missing(operations []string) (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, op := range operations {
		if c.succeeded[op] == 0 {
			out = append(out, op)
		}
	}
	return out
}

// count is how many requests there were.
func (c *client) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.number
}
