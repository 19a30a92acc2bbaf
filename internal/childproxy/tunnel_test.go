package childproxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// far is a listener that hands each accepted connection to serve and waits for all of them.
func far(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(deadline))
				serve(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { listener.Close(); all.Wait() })
	return listener.Addr().String()
}

// The far end answers only when the client has finished sending: the end must be passed on,
// and the way back must stay open.
func TestHalfCloseByClient(t *testing.T) {
	address := far(t, func(conn *net.TCPConn) {
		sent, _ := io.ReadAll(conn)
		_, _ = conn.Write(bytes.ToUpper(sent))
	})
	p := listen(t, Options{})
	conn, r := connect(t, p, address)
	must(io.WriteString(conn, "all of it"))
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); string(got) != "ALL OF IT" || err != nil {
		t.Errorf("answer = %q, %v; want %q", got, err, "ALL OF IT")
	}
}

func TestHalfCloseByFarEnd(t *testing.T) {
	got := make(chan string, 1)
	address := far(t, func(conn *net.TCPConn) {
		_, _ = io.WriteString(conn, "greeting")
		_ = conn.CloseWrite()
		sent, _ := io.ReadAll(conn)
		got <- string(sent)
	})
	p := listen(t, Options{})
	conn, r := connect(t, p, address)
	if greeting, err := io.ReadAll(r); string(greeting) != "greeting" || err != nil {
		t.Errorf("greeting = %q, %v; want %q", greeting, err, "greeting")
	}
	must(io.WriteString(conn, "late"))
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if sent := <-got; sent != "late" {
		t.Errorf("far end got %q, want %q", sent, "late")
	}
}

// What a client sends right behind its CONNECT, before the answer, belongs to the tunnel.
func TestEarlyBytes(t *testing.T) {
	address := far(t, func(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) })
	p := listen(t, Options{})
	early := strings.Repeat("early ", 20000)
	conn, r := raw(t, p, "CONNECT "+address+" HTTP/1.1\r\nHost: x\r\n\r\nfirst ")
	response, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("CONNECT = %v, %v; want 200", response, err)
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		_, _ = io.WriteString(conn, early)
		_ = conn.(*net.TCPConn).CloseWrite()
	})
	got, err := io.ReadAll(r)
	writing.Wait()
	if want := "first " + early; string(got) != want || err != nil {
		t.Errorf("echo of %d bytes, %v; want %d", len(got), err, len(want))
	}
}

func TestFailureEndsBothSides(t *testing.T) {
	address := far(t, func(conn *net.TCPConn) {
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.SetLinger(0) // close with a reset
	})
	p := listen(t, Options{})
	conn, r := connect(t, p, address)
	must(io.WriteString(conn, "x"))
	if got, err := io.ReadAll(r); len(got) != 0 || isTimeout(err) {
		t.Errorf("read = %q, %v; want the end", got, err)
	}
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

func TestCloseEndsEverything(t *testing.T) {
	silent := far(t, func(conn *net.TCPConn) { _, _ = io.Copy(io.Discard, conn) })
	upgrading := far(t, func(conn *net.TCPConn) {
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn)
	})
	p, err := Listen(Options{Route: testRoute, Identity: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	readers := map[string]*bufio.Reader{}
	_, readers["own name that nobody takes"] = connect(t, p, "a.strongroom.internal:443")
	_, readers["other tunnel"] = connect(t, p, silent)
	_, readers["idle"] = raw(t, p, "")
	_, readers["half a header"] = raw(t, p, "GET http://")
	_, readers["request without answer"] = raw(t, p, "GET http://"+silent+"/ HTTP/1.1\r\nHost: x\r\n\r\n")
	_, readers["upload"] = raw(t, p, "PUT http://"+silent+"/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
	_, upgraded := raw(t, p, "GET http://"+upgrading+"/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	if response, err := http.ReadResponse(upgraded, nil); err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade = %v, %v; want 101", response, err)
	}
	readers["upgraded"] = upgraded

	done := make(chan error, 1)
	go func() { done <- p.Close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Close = %v, want no error", err)
		}
	case <-time.After(deadline):
		t.Fatal("Close does not return")
	}
	for name, r := range readers {
		if _, err := io.ReadAll(r); isTimeout(err) {
			t.Errorf("%s: still open after Close", name)
		}
	}
	if conn, err := net.Dial("tcp", p.listener.Addr().String()); err == nil {
		conn.Close()
		t.Error("the listener still accepts after Close")
	}
	if err := p.Close(); err != nil {
		t.Errorf("second Close = %v, want no error", err)
	}
}
