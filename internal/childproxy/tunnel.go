package childproxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
)

const established = "HTTP/1.1 200 Connection established\r\n\r\n"

// A stream is a connection whose sending side can end alone.
type stream interface {
	net.Conn
	CloseWrite() error
}

// tunnel joins the client's connection with upstream and returns when both have ended, or
// one failed, or the proxy closes. It owns upstream.
func (p *Proxy) tunnel(w http.ResponseWriter, upstream net.Conn) {
	defer upstream.Close()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		p.refuse(w, http.StatusBadGateway, "this connection cannot become a tunnel")
		return
	}
	defer conn.Close()
	closeBoth := func() { conn.Close(); upstream.Close() }
	defer context.AfterFunc(p.ctx, closeBoth)()

	if _, err := io.WriteString(conn, established); err != nil {
		return
	}
	early := io.LimitReader(buffered, int64(buffered.Reader.Buffered()))
	if _, err := io.Copy(upstream, early); err != nil { // what the client sent without waiting
		return
	}
	join(conn.(stream), upstream.(stream), closeBoth)
}

// join copies both ways. The end of one direction is passed on and leaves the other open; a
// failure ends both, since a half that lost bytes must not look whole.
func join(a, b stream, closeBoth func()) {
	var both sync.WaitGroup
	both.Go(func() { pass(a, b, closeBoth) })
	both.Go(func() { pass(b, a, closeBoth) })
	both.Wait()
}

func pass(to, from stream, closeBoth func()) {
	_, err := io.Copy(to, from)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		closeBoth()
	}
}

var _ stream = (*net.TCPConn)(nil) // what the listener accepts and the dialer makes
