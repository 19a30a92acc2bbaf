package server

import (
	"container/list"
	"net"
	"net/http"
	"sync"
	"time"
)

// patience is how long a connection may ask nothing before it can be ended to make room: a request
// may be on its way.
const patience = time.Second

// limited bounds the open connections of a listener. Beyond the limit the one that has been idle for
// longest makes room for a new one, as idle_timeout would have ended it some time; then, among those
// that have not asked anything yet, the one that came first: who opens connections and says nothing
// loses his own. Where all are at work a new one waits.
func limited(l net.Listener, n int) net.Listener {
	out := &limitedListener{Listener: l, limit: n}
	out.changed = sync.NewCond(&out.mu)
	return out
}

type limitedListener struct {
	net.Listener
	limit int

	mu      sync.Mutex
	changed *sync.Cond // when a connection or the listener has ended, and when it is time to look again
	open    int        // guarded by mu
	closed  bool       // guarded by mu
	idle    list.List  // guarded by mu; of *limitedConn, between two requests, longest first
	silent  list.List  // guarded by mu; of *limitedConn, before the first request, longest first
}

func (l *limitedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.open >= l.limit && !l.closed {
		if wait := l.makeRoom(); wait > 0 {
			again := time.AfterFunc(wait, l.lookAgain)
			l.changed.Wait()
			again.Stop()
		}
	}
	if l.closed {
		c.Close()
		return nil, net.ErrClosed
	}
	l.open++
	out := &limitedConn{Conn: c, of: l}
	out.release = sync.OnceFunc(func() { l.release(out) })
	out.in(&l.silent)
	return out, nil
}

// makeRoom ends the connection that is missed least, or says when to look again. The caller holds l.mu,
// which is given up meanwhile.
func (l *limitedListener) makeRoom() (wait time.Duration) {
	wait = patience
	for _, from := range []*list.List{&l.idle, &l.silent} {
		first := from.Front()
		if first == nil {
			continue
		}
		c := first.Value.(*limitedConn)
		if early := patience - time.Since(c.since); early > 0 {
			wait = min(wait, early)
			continue
		}
		l.mu.Unlock()
		c.Close()
		l.mu.Lock()
		return 0
	}
	return wait
}

// lookAgain wakes Accept; with the lock, so that Accept waits by then.
func (l *limitedListener) lookAgain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed.Broadcast()
}

func (l *limitedListener) release(c *limitedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.in(nil)
	c.gone = true
	l.open--
	l.changed.Broadcast()
}

func (l *limitedListener) Close() error {
	err := l.Listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.changed.Broadcast()
	return err
}

type limitedConn struct {
	net.Conn
	of      *limitedListener
	release func()

	list  *list.List    // guarded by of.mu; that c is in, or nil
	at    *list.Element // guarded by of.mu
	since time.Time     // guarded by of.mu; when it came there
	gone  bool          // guarded by of.mu
}

// in puts a connection at the end of a list, and takes it from the one where it was. The caller holds
// of.mu.
func (c *limitedConn) in(to *list.List) {
	if c.list != nil {
		c.list.Remove(c.at)
	}
	if c.gone {
		to = nil
	}
	if c.list = to; to != nil {
		c.at, c.since = to.PushBack(c), time.Now()
	}
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// turned is told by the HTTP server what a connection does.
func turned(conn net.Conn, state http.ConnState) {
	c, ok := limitedOf(conn)
	if !ok {
		return
	}
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	switch state {
	case http.StateIdle:
		c.in(&c.of.idle)
	case http.StateActive, http.StateHijacked:
		c.in(nil)
	}
}

// limitedOf finds the connection below TLS.
func limitedOf(c net.Conn) (*limitedConn, bool) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	l, ok := c.(*limitedConn)
	return l, ok
}

// bare is the connection as the system knows it, by which its peer is found out.
func bare(c net.Conn) net.Conn {
	if l, ok := c.(*limitedConn); ok {
		return l.Conn
	}
	return c
}
