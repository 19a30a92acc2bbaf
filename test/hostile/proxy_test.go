//go:build unix

package hostile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What a proxy does to a database.
const (
	passing  int32 = iota
	refusing       // some statements fail, as on a server without memory or disk
	stalling       // nothing passes, and nothing is closed
	cut            // connections end, and new ones are refused
)

// A proxy stands between the server and PostgreSQL and understands as much of its protocol as it
// takes to make single statements fail (PostgreSQL manual, "Message Formats").
type proxy struct {
	listener net.Listener
	server   string
	mode     atomic.Int32
	every    atomic.Int64 // of so many statements one is refused
	seen     atomic.Int64 // statements while refusing
	refused  atomic.Int64
	wg       sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]bool // guarded by mu
}

// newProxy returns a proxy and the URL that leads through it.
func newProxy(t *testing.T, postgresURL string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(postgresURL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, server: u.Host, open: map[net.Conn]bool{}}
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		l.Close()
		p.set(cut)
		p.wg.Wait()
	})
	u.Host = l.Addr().String()
	return p, u.String()
}

// set changes what the proxy does from now on.
func (p *proxy) set(mode int32) {
	p.mode.Store(mode)
	if mode != cut {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		c.Close()
	}
}

// keep remembers a connection, to cut it. It says no if connections are being cut.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[c] = true
	return p.mode.Load() != cut
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.pass(client) })
	}
}

func (p *proxy) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.keep(client) || !p.keep(server) {
		return
	}
	p.wg.Go(func() {
		defer client.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			p.awaitPassage()
			if _, failed := client.Write(buffer[:n]); failed != nil || err != nil {
				return
			}
		}
	})
	dropping := false // what belongs to a refused statement, up to its Sync
	for first := true; ; first = false {
		message, err := readMessage(client, first)
		if err != nil {
			return
		}
		p.awaitPassage()
		if message, dropping = p.judge(message, first, dropping); message == nil {
			continue
		}
		if _, err := server.Write(message); err != nil {
			return
		}
	}
}

// awaitPassage holds bytes back while the proxy stalls.
func (p *proxy) awaitPassage() {
	for p.mode.Load() == stalling {
		time.Sleep(10 * time.Millisecond) // a poll
	}
}

// judge says what the server gets in place of a message; nil is nothing. Of a statement that is
// refused everything up to its Sync is left out, and then one is sent that fails on the server
// itself, so that it is in the state of one that refused.
func (p *proxy) judge(message []byte, first, dropping bool) (instead []byte, stillDropping bool) {
	switch {
	case first:
		return message, false
	case dropping && message[0] == 'S':
		return query(p.failure()), false
	case dropping:
		return nil, true
	case message[0] == 'Q' && !bytes.HasPrefix(bytes.ToLower(message[5:]), []byte("rollback")): // which no server refuses
		if !p.isDue() {
			return message, false
		}
		if bytes.EqualFold(message[5:], []byte("commit\x00")) {
			return query("ROLLBACK; " + p.failure()), false // a COMMIT that fails ends its transaction
		}
		return query(p.failure()), false
	case message[0] == 'P' || message[0] == 'B':
		if p.isDue() {
			return nil, true
		}
	}
	return message, false
}

func (p *proxy) isDue() bool {
	return p.mode.Load() == refusing && p.seen.Add(1)%p.every.Load() == 0
}

// failure is a statement that fails: for want of disk, of memory, or by an error of the disk (appendix
// "PostgreSQL Error Codes").
func (p *proxy) failure() string {
	code := []string{"53100", "53200", "58030"}[p.refused.Add(1)%3]
	return fmt.Sprintf("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '%s', MESSAGE = 'refused by the test'; END $$", code)
}

// query is a message of the simple protocol.
func query(sql string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(len(sql)+5))
	return append(append(b, sql...), 0)
}

// readMessage reads one message of a client: a type, which the first has not, a length that counts
// itself, and the rest.
func readMessage(r io.Reader, first bool) ([]byte, error) {
	head := make([]byte, 5)
	if first {
		head = head[:4]
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[len(head)-4:])) - 4
	message := append(head, make([]byte, n)...)
	_, err := io.ReadFull(r, message[len(head):])
	return message, err
}
