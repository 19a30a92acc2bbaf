package childproxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
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

// hand gives the client's connection to whoever serves our own names.
func (p *Proxy) hand(w http.ResponseWriter, host string) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		p.refuse(w, http.StatusBadGateway, "this connection cannot become a tunnel")
		return
	}
	if _, err := io.WriteString(conn, established); err != nil {
		conn.Close()
		return
	}
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered()) // what the client sent without waiting
	select {
	case p.own.conns <- &OwnConn{Conn: conn, Host: host, early: slices.Clone(early)}:
	case <-p.own.closed:
		conn.Close()
	case <-p.ctx.Done():
		conn.Close()
	}
}

// An OwnConn is a client's connection to one of our own names.
type OwnConn struct {
	net.Conn
	Host  string // that was asked for, in lower case
	early []byte
}

func (c *OwnConn) Read(b []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.early)
	c.early = c.early[n:]
	return n, nil
}

// An ownListener is Proxy.Own.
type ownListener struct {
	conns  chan net.Conn
	addr   net.Addr
	ended  <-chan struct{} // closed when the proxy ends
	closed chan struct{}
	once   sync.Once
}

func (l *ownListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
	case <-l.ended:
	}
	return nil, net.ErrClosed
}

func (l *ownListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *ownListener) Addr() net.Addr { return l.addr }

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
