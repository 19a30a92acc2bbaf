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
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"strongroom/internal/peer"
)

// metadataHost is where managed identity endpoints live in clouds, on port 80.
const metadataHost = "169.254.169.254"

var errSelf = errors.New("that address is this proxy")

// serve answers one request. It is counted, so that Close can wait for it.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	p.wait.Add(1) // above zero already: the connection is counted until it is closed or hijacked
	defer p.wait.Done()
	// Also whom the system does not tell, such as one that has closed its sending side: what we dial is
	// dialled as our user, by whom others are judged.
	if clientOf(r)() != ours {
		p.refuse(w, http.StatusForbidden, "another user's program may not use this proxy")
		return
	}
	if r.Method == http.MethodConnect {
		p.serveConnect(w, r)
		return
	}
	p.servePlain(w, r)
}

// serveConnect opens a tunnel. The request line alone decides where to: a Host header that
// says otherwise has no say.
func (p *Proxy) serveConnect(w http.ResponseWriter, r *http.Request) {
	host, port, err := splitAuthority(r.RequestURI)
	if err != nil {
		p.refuse(w, http.StatusBadRequest, "CONNECT: "+err.Error())
		return
	}
	if r.ContentLength != 0 {
		p.refuse(w, http.StatusBadRequest, "CONNECT with a body: want none")
		return
	}
	if isMetadata(host, port) {
		p.refuse(w, http.StatusForbidden, metadataHost+" is served over http only, without CONNECT")
		return
	}
	switch to := p.route(r.Context(), fold(host)); {
	case to.Refusal != "":
		p.refuse(w, http.StatusBadGateway, to.Refusal)
		return
	case to.Own:
		p.hand(w, fold(host))
		return
	}
	address := net.JoinHostPort(host, port)
	upstream, err := p.dialer.DialContext(r.Context(), "tcp", address)
	if err != nil {
		p.refuseDial(w, r, address, err)
		return
	}
	p.tunnel(w, upstream)
}

// servePlain answers for the identity endpoint, and passes on a request for another http URL.
func (p *Proxy) servePlain(w http.ResponseWriter, r *http.Request) {
	host := r.URL.Hostname()
	if r.URL.Host == "" && r.URL.Scheme == "" || r.URL.Scheme == "http" && isMetadata(host, portOf(r)) {
		p.identity.ServeHTTP(w, r)
		return
	}
	if r.URL.Scheme != "http" || !isHost(host) {
		p.refuse(w, http.StatusBadRequest, "this is a forward proxy: want CONNECT or an http:// URL")
		return
	}
	switch to := p.route(r.Context(), fold(host)); {
	case to.Refusal != "":
		p.refuse(w, http.StatusBadGateway, to.Refusal)
	case to.Own:
		p.refuse(w, http.StatusForbidden, fmt.Sprintf("%s is served over https only", host))
	default:
		p.forward.ServeHTTP(w, r)
	}
}

func portOf(r *http.Request) string {
	if port := r.URL.Port(); port != "" {
		return port
	}
	return "80"
}

func isMetadata(host, port string) bool { return fold(host) == metadataHost && port == "80" }

// newForward passes plain requests on. ReverseProxy removes hop-by-hop headers both ways,
// those that Connection names too; Rewrite undoes what a forward proxy must not do.
func (p *Proxy) newForward() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:       p.rewrite,
		FlushInterval: -1, // at once: a stream may pause in the middle of a buffer
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			p.refuseDial(w, r, r.URL.Host, err)
		},
		Transport: &http.Transport{
			DialContext:            p.dialer.DialContext,
			DisableCompression:     true,
			MaxIdleConns:           32,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 256 << 10,
			ExpectContinueTimeout:  time.Second,
		},
	}
}

// rewrite keeps query and forwarding headers as the client sent them: who refuses forwarded requests
// would be deceived otherwise.
func (p *Proxy) rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, sent := r.In.Header[name]; sent {
			r.Out.Header[name] = values
		}
	}
}

// refuseSelf runs before each connect with the resolved address, so no name can lead a
// request back into the proxy that sends it.
func (p *Proxy) refuseSelf(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	addr := ap.Addr().Unmap()
	if ap.Port() == p.port && (addr.IsLoopback() || addr.IsUnspecified()) {
		return errSelf
	}
	return nil
}

// refuseDial says that address did not answer, unless it is the client that went away.
func (p *Proxy) refuseDial(w http.ResponseWriter, r *http.Request, address string, err error) {
	switch {
	case r.Context().Err() != nil:
		w.WriteHeader(http.StatusBadGateway)
	case errors.Is(err, errSelf):
		p.refuse(w, http.StatusForbidden, fmt.Sprintf("%s: %v", address, errSelf))
	default:
		p.refuse(w, http.StatusBadGateway, fmt.Sprintf("cannot reach %s", address))
	}
}

// refuse answers with one line, closes the connection, and logs the same line.
func (p *Proxy) refuse(w http.ResponseWriter, status int, line string) {
	p.log(line)
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Second)) // for a body that nobody wants
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Connection", "close")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "strongroom: "+line+"\n") // a client that left needs no answer
}

// A client is what the system tells of the user behind a connection.
type client int

const (
	unknown client = iota
	ours
	stranger
)

type connKey struct{}

// withConn lets handlers ask for the client of their connection, which is looked up once.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, sync.OnceValue(func() client { return identify(c) }))
}

func clientOf(r *http.Request) func() client {
	return r.Context().Value(connKey{}).(func() client)
}

// identify counts the superuser as ours: a child may have raised itself, and root needs no
// proxy to act as us. A client that closed its sending side already is unknown.
func identify(c net.Conn) client {
	uid, ok, err := peer.LoopbackUID(c)
	if !ok || err != nil {
		return unknown
	}
	if uid == os.Geteuid() || uid == 0 {
		return ours
	}
	return stranger
}
