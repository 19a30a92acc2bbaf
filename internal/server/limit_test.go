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

// A limitedServer serves HTTP behind a listener of so many connections. "/held" is answered when held is
// closed.
type limitedServer struct {
	address string
	begun   chan struct{} // gets one for each request that is held
	idle    chan struct{} // gets one when a connection is idle, which is after its answer
	held    chan struct{}
}

func newLimitedServer(t *testing.T, connections int) limitedServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out := limitedServer{
		address: l.Addr().String(), held: make(chan struct{}),
		begun: make(chan struct{}, connections), idle: make(chan struct{}, 100),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/held", func(http.ResponseWriter, *http.Request) {
		out.begun <- struct{}{}
		<-out.held
	})
	s := &http.Server{Handler: mux, ConnState: func(c net.Conn, state http.ConnState) {
		turned(c, state)
		if state == http.StateIdle {
			out.idle <- struct{}{}
		}
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(limited(l, connections))
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return out
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

// get asks, and waits until the server is done with it.
func (s limitedServer) get(t *testing.T, c client) {
	t.Helper()
	if err := c.ask("/"); err != nil {
		t.Fatal(err)
	}
	if err := c.answered(10 * time.Second); err != nil {
		t.Fatalf("no answer: %v", err)
	}
	<-s.idle
}

// A new connection takes the place of the one that has been idle for longest, and of no other.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	s := newLimitedServer(t, 3)
	first, second, third := dialLimited(t, s.address), dialLimited(t, s.address), dialLimited(t, s.address)
	for _, c := range []client{first, second, third, first} { // second is idle for longest
		s.get(t, c)
	}
	s.get(t, dialLimited(t, s.address))
	if err := second.answered(10 * time.Second); err == nil {
		t.Error("the connection that was idle for longest is still open")
	}
	s.get(t, first)
	s.get(t, third)
}

// Connections that say nothing do not keep out one that asks.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	s := newLimitedServer(t, 3)
	for range 10 {
		dialLimited(t, s.address)
	}
	s.get(t, dialLimited(t, s.address))
}

// Where all connections are at work a new one waits, and comes in when one of them is done.
func TestConnectionsAtWorkStay(t *testing.T) {
	s := newLimitedServer(t, 2)
	busy := []client{dialLimited(t, s.address), dialLimited(t, s.address)}
	for _, c := range busy {
		if err := c.ask("/held"); err != nil {
			t.Fatal(err)
		}
		<-s.begun
	}
	waiting := dialLimited(t, s.address)
	if err := waiting.ask("/"); err != nil {
		t.Fatal(err)
	}
	if err := waiting.answered(2 * patience); err == nil {
		t.Fatal("a third connection was answered while two are at work")
	}
	close(s.held)
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
