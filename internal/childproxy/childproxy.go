// Package childproxy is the forward proxy that a program under "strongroom run" has, so that it
// reaches the server, unmodified, under names that DNS knows as another's or not at all.
//
//	CONNECT our.name:any           -> Proxy.Own, served by this process
//	CONNECT refused.name:any       -> one line that says why
//	GET /…, to the proxy itself    -> Options.Identity, the managed identity endpoint
//	GET http://169.254.169.254/…   -> Options.Identity
//	everything else                -> dialled as asked
//
// It never looks into a tunnel. The threats are the other users of the machine, who can reach a
// loopback port too, and a child that sends what its own attackers gave it. A client that is not
// known to be ours is refused. Parsing is net/http's, which refuses ambiguous framing; requests are
// framed anew before they go on, so no header smuggles a second one.
//
// A proxy that the user's environment named before is not chained.
package childproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	dialTimeout    = 10 * time.Second
	headerTimeout  = 10 * time.Second
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 64 << 10
)

// Options say where requests go.
type Options struct {
	// Route says what becomes of a host name, which is in lower case and without a dot at its end. It
	// may be called from several goroutines. Required.
	Route func(ctx context.Context, host string) Route

	// Identity is the managed identity endpoint. Required.
	Identity http.Handler

	// Log takes one line per refusal or failed dial, with host names and nothing else of the
	// request. It may be called from several goroutines. Nil drops the lines.
	Log func(string)
}

// A Route is what becomes of a host name; the zero value passes it on.
type Route struct {
	Own     bool   // it is one of ours
	Refusal string // one line that says why nobody answers; "" if somebody does
}

// A Proxy listens until Close. It may be shared.
type Proxy struct {
	route    func(context.Context, string) Route
	identity http.Handler
	log      func(string)
	own      *ownListener

	listener net.Listener
	port     uint16
	server   *http.Server
	forward  *httputil.ReverseProxy
	dialer   net.Dialer

	ctx    context.Context // ends with Close, and every request and tunnel with it
	cancel context.CancelFunc
	wait   sync.WaitGroup // the accept loop, connections and handlers
}

// Listen opens the proxy on a free port of 127.0.0.1. The caller must Close it.
func Listen(o Options) (*Proxy, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open the proxy for the child: %w", err)
	}
	p := &Proxy{
		route: o.Route, identity: o.Identity, log: o.Log,
		listener: listener, port: listener.Addr().(*net.TCPAddr).AddrPort().Port(),
	}
	if p.log == nil {
		p.log = func(string) {}
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.own = &ownListener{conns: make(chan net.Conn), addr: listener.Addr(), ended: p.ctx.Done(), closed: make(chan struct{})}
	p.dialer = net.Dialer{Timeout: dialTimeout, ControlContext: p.refuseSelf}
	p.forward = p.newForward()
	p.server = p.newServer()
	p.wait.Go(func() { _ = p.server.Serve(listener) }) // always ends with ErrServerClosed, by Close
	return p, nil
}

// newServer bounds what a client can make us hold. There is no limit on a whole request:
// uploads may take long.
func (p *Proxy) newServer() *http.Server {
	return &http.Server{
		Handler:                      http.HandlerFunc(p.serve),
		ReadHeaderTimeout:            headerTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return p.ctx },
		ConnContext:                  withConn,
		ConnState:                    p.count,
		ErrorLog:                     log.New(io.Discard, "", 0), // parse errors quote the request
	}
}

// count keeps wait above zero while net/http serves a connection. A hijacked connection is
// still inside its handler, which serve counts.
func (p *Proxy) count(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		p.wait.Add(1)
		if p.ctx.Err() != nil {
			conn.Close() // accepted while Close went through the connections it knew
		}
	case http.StateClosed, http.StateHijacked:
		p.wait.Done()
	}
}

// Own yields the connections that clients open to our own names: each is an OwnConn. It ends with the
// proxy, if it is not closed before; the connections are the taker's to close.
func (p *Proxy) Own() net.Listener { return p.own }

// URL is the value for HTTP_PROXY and HTTPS_PROXY, and what the identity endpoint is below.
func (p *Proxy) URL() string { return "http://" + p.listener.Addr().String() }

// Close ends the listener, all requests and all tunnels, and returns when their goroutines
// have ended. It may be called again.
func (p *Proxy) Close() error {
	p.cancel()
	err := p.server.Close()
	p.wait.Wait()
	p.forward.Transport.(*http.Transport).CloseIdleConnections()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close the proxy for the child: %w", err)
	}
	return nil
}

// fold is the form in which host names are compared.
func fold(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// splitAuthority takes host:port apart and accepts nothing beside it: no user, path or space.
func splitAuthority(s string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(s)
	if err == nil && !isHost(host) {
		err = errors.New("no host name")
	}
	if n, numErr := strconv.ParseUint(port, 10, 16); err == nil && (numErr != nil || n == 0) {
		err = errors.New("no port number")
	}
	if err != nil {
		return "", "", errors.New("want host:port")
	}
	return host, port, nil
}

// isHost accepts what may stand in a host name or an IP address and is safe to print.
func isHost(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._:%", c) >= 0) {
			return false
		}
	}
	return true
}
