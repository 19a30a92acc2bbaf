package server

import (
	"errors"
	"fmt"
	"net"
	"os"
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
