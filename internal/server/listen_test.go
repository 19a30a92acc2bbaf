package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// TestSlowBodies sends the beginning of a body to each listener without TLS and then nothing, to
// paths that answer without reading it: the connection is closed at the limit all the same.
func TestSlowBodies(t *testing.T) {
	const limit = 200 * time.Millisecond
	cfg := testConfig(t)
	l := &cfg.Limits
	l.BodyTimeout, l.RequestTimeout, l.IdleTimeout, l.HeaderTimeout = limit, time.Minute, time.Minute, time.Minute
	listeners, err := startApp(t, cfg).listen()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		withTLS := l.server.TLSConfig != nil
		go l.server.Serve(l.Listener)
		t.Cleanup(func() { l.server.Close() })
		if withTLS {
			continue
		}
		for _, path := range []string{"/healthz", "/nothing"} {
			if err := sendSlowBody(l.Addr(), path); err != nil {
				t.Errorf("%s, GET %s: the connection was not closed: %v", l.name, path, err)
			}
		}
	}
}

// sendSlowBody returns nil if the other side has closed the connection within five seconds.
func sendSlowBody(to net.Addr, path string) error {
	c, err := net.Dial(to.Network(), to.String())
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx", path)
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	for err == nil {
		_, err = c.Read(make([]byte, 4096))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// The time for a body is over when the body is: an answer that takes longer is not cut off.
func TestSlowAnswers(t *testing.T) {
	cfg := testConfig(t)
	cfg.Limits.BodyTimeout = 100 * time.Millisecond
	a := startApp(t, cfg)
	slow := httptest.NewServer(a.withDeadlines(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		select {
		case <-r.Context().Done():
			t.Errorf("%s: %v, %v after its body of %d bytes", r.Method, r.Context().Err(), err, len(body))
		case <-time.After(5 * cfg.Limits.BodyTimeout):
		}
	})))
	defer slow.Close()
	for method, body := range map[string]string{"GET": "", "POST": "x"} {
		req, err := http.NewRequest(method, slow.URL, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := slow.Client().Do(req)
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		resp.Body.Close()
	}
}
