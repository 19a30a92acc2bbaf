package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// limitedServer serves HTTP behind a listener of so many connections. "/held" is answered when held
// is closed; begun gets one for each that has come so far.
func limitedServer(t *testing.T, connections int) (address string, begun, held chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	begun, held = make(chan struct{}, connections), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/held", func(http.ResponseWriter, *http.Request) {
		begun <- struct{}{}
		<-held
	})
	s := &http.Server{Handler: mux, ConnState: turned}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(limited(l, connections))
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return l.Addr().String(), begun, held
}

type client struct {
	net.Conn
	read *bufio.Reader
}

func dialLimited(t *testing.T, address string) client {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return client{c, bufio.NewReader(c)}
}

func (c client) ask(path string) error {
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
	return err
}

// answered says whether an answer came within a time.
func (c client) answered(within time.Duration) error {
	c.SetReadDeadline(time.Now().Add(within))
	resp, err := http.ReadResponse(c.read, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func (c client) get(t *testing.T) {
	t.Helper()
	if err := c.ask("/"); err != nil {
		t.Fatal(err)
	}
	if err := c.answered(10 * time.Second); err != nil {
		t.Fatalf("no answer: %v", err)
	}
}

// A new connection takes the place of the one that has been idle for longest, and of no other.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	address, _, _ := limitedServer(t, 3)
	first, second, third := dialLimited(t, address), dialLimited(t, address), dialLimited(t, address)
	for _, c := range []client{first, second, third, first} { // second is idle for longest
		c.get(t)
	}
	dialLimited(t, address).get(t)
	if err := second.answered(10 * time.Second); err == nil {
		t.Error("the connection that was idle for longest is still open")
	}
	first.get(t)
	third.get(t)
}

// Connections that say nothing do not keep out one that asks.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	address, _, _ := limitedServer(t, 3)
	for range 10 {
		dialLimited(t, address)
	}
	dialLimited(t, address).get(t)
}

// Where all connections are at work a new one waits, and comes in when one of them is done.
func TestConnectionsAtWorkStay(t *testing.T) {
	address, begun, held := limitedServer(t, 2)
	busy := []client{dialLimited(t, address), dialLimited(t, address)}
	for _, c := range busy {
		if err := c.ask("/held"); err != nil {
			t.Fatal(err)
		}
		<-begun
	}
	waiting := dialLimited(t, address)
	if err := waiting.ask("/"); err != nil {
		t.Fatal(err)
	}
	if err := waiting.answered(2 * patience); err == nil {
		t.Fatal("a third connection was answered while two are at work")
	}
	close(held)
	if err := waiting.answered(10 * time.Second); err != nil {
		t.Errorf("no answer after the others were done: %v", err)
	}
	answered := 0
	for _, c := range busy {
		if c.answered(10*time.Second) == nil {
			answered++
		}
	}
	if answered != 2 {
		t.Errorf("%d of those at work were answered, want both", answered)
	}
}
