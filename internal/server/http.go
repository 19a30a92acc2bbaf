package server

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"strongroom/internal/operation"
	"strongroom/internal/peer"
	"strongroom/internal/resource"
)

// serveWire serves the TLS listener: the host names the face.
func (a *app) serveWire(w http.ResponseWriter, r *http.Request) {
	host, ok := a.families.Resolve(r.Host)
	if !ok {
		http.Error(w, "this server does not answer for the host of the request", http.StatusMisdirectedRequest)
		return
	}
	a.do(w, r, a.faces[host.Face], newRequest(r, host))
}

// serveSocket serves the local socket: no token, but the right user.
func (a *app) serveSocket(w http.ResponseWriter, r *http.Request) {
	c, _ := r.Context().Value(connKey{}).(net.Conn)
	if c == nil || !socketOwner(c) {
		http.Error(w, "the local socket is for the user who runs the server", http.StatusForbidden)
		return
	}
	host, ok := a.families.Resolve(r.Host)
	if !ok {
		host = a.families[0].ManagementHost() // "local": what is not bound to a host
	}
	req := newRequest(r, host)
	req.Address = netip.Addr{}
	req.Caller, req.Peer.Local = operation.LocalOwner(), true
	a.do(w, r, a.faces[host.Face], req)
}

// serveManaged serves the managed identity endpoint, whatever its host is called.
func (a *app) serveManaged(w http.ResponseWriter, r *http.Request) {
	host := a.families[0].LoginHost()
	host.Text = r.Host // the face refuses names that a web page could have led here
	req := newRequest(r, host)
	req.Peer.UID = peerUID(r)
	a.do(w, r, a.managed, req)
}

// peerUID looks up the user at the other end of a loopback connection.
func peerUID(r *http.Request) func() (int, bool) {
	return func() (int, bool) {
		c, ok := r.Context().Value(connKey{}).(net.Conn)
		if !ok {
			return 0, false
		}
		uid, known, err := peer.LoopbackUID(c)
		return uid, known && err == nil
	}
}

// tlsNames are the versions that the listener speaks, as Azure's log has them.
var tlsNames = map[uint16]string{tls.VersionTLS12: "TLS1_2", tls.VersionTLS13: "TLS1_3"}

func newRequest(r *http.Request, host resource.Host) *operation.Request {
	req := &operation.Request{
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Header: r.Header, Body: r.Body, Host: host,
	}
	if addr, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		req.Address = addr.Addr()
	}
	if r.TLS != nil {
		req.TLS = tlsNames[r.TLS.Version]
	}
	return req
}

// withDeadlines bounds how long the peer may take to send the body and to take the answer. It comes
// before any answer: the library reads what is left of a body before it sends one.
func (a *app) withDeadlines(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != http.NoBody {
			rc := http.NewResponseController(w)
			rc.SetReadDeadline(time.Now().Add(a.config.Limits.BodyTimeout)) // not every writer can; then the others hold
			copied := *r                                                    // the library looks at its own request's body: whether it was asked for (RFC 9110, 10.1.1)
			copied.Body = &timedBody{r.Body, rc}
			r = &copied
		}
		a.limitAnswer(w)
		if len(r.TransferEncoding) > 0 {
			// With a Content-Length beside it, somebody in between may see another end of the request
			// than we do (RFC 9112, 6.3): nothing behind it is taken for a request.
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

// limitAnswer gives the peer its time to take an answer.
func (a *app) limitAnswer(w http.ResponseWriter) {
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(a.config.Limits.RequestTimeout)) // not every writer can
}

// A timedBody ends the time for a body when the body ends: the library looks for the next request
// while the answer is made, and takes a deadline that passes then for a peer that is gone.
type timedBody struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF { //nolint:errorlint // a reader says it bare
		b.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}

// do runs a request within its limit of time and writes the complete answer.
func (a *app) do(w http.ResponseWriter, r *http.Request, t *operation.Table, req *operation.Request) {
	// The last quarter is for the entry and the answer: who meets a database that does not answer is told so.
	ctx, cancel := operation.Within(r.Context(), a.config.Limits.RequestTimeout*3/4)
	defer cancel()
	req.Answer = w.Header()
	resp := a.pipeline.Do(ctx, t, req)
	a.limitAnswer(w) // anew: a commit may have outlasted the first while the database stalled
	if resp.Stream != nil {
		a.stream(w, r, resp)
		return
	}
	if len(resp.Body) == 0 {
		w.Header().Del("Content-Type")
	}
	w.WriteHeader(resp.Status)
	w.Write(resp.Body) // the peer may be gone; the entry says what was answered
}

// stallWithin is how long the peer of a stream may take for the next piece of it: what the stream is
// read from is kept open for that long.
const stallWithin = 2 * time.Minute

// stream writes an answer that has no end in sight. It goes on for as long as the peer takes it; when
// it breaks off, the peer sees no proper end.
func (a *app) stream(w http.ResponseWriter, r *http.Request, resp *operation.Response) {
	rc := http.NewResponseController(w)
	rc.SetReadDeadline(time.Time{}) // that of the body: its end would be taken for the peer's going
	w.WriteHeader(resp.Status)
	err := resp.Stream(r.Context(), &steady{w, rc})
	if err != nil {
		a.log.LogAttrs(r.Context(), slog.LevelWarn, "an answer broke off",
			slog.String("request", w.Header().Get("X-Ms-Request-Id")), slog.Any("error", err))
		panic(http.ErrAbortHandler)
	}
}

// steady gives each piece of an answer its own time.
type steady struct {
	w  io.Writer
	rc *http.ResponseController
}

// Flush sends what is written at once.
func (s *steady) Flush() { s.rc.Flush() } // what fails here fails again at the next piece

func (s *steady) Write(b []byte) (int, error) {
	s.rc.SetWriteDeadline(time.Now().Add(stallWithin)) // not every writer can; then the first deadline holds
	return s.w.Write(b)
}
