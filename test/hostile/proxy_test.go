//go:build unix

package hostile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"strongroom/internal/db/dbtest"
)

// What a proxy does to a database.
const (
	passing  int32 = iota
	refusing       // some statements fail, as on a server without memory or disk
	stalling       // nothing passes, and nothing is closed
	cut            // connections end, and new ones are refused
)

// A proxy stands between the server and PostgreSQL and makes single statements fail.
type proxy struct {
	mode    atomic.Int32
	every   atomic.Int64 // of so many statements one is refused
	seen    atomic.Int64 // statements while refusing
	refused atomic.Int64

	mu   sync.Mutex
	open map[net.Conn]bool // guarded by mu
}

// newProxy returns a proxy and the URL that leads through it.
func newProxy(t *testing.T, postgresURL string) (*proxy, string) {
	t.Helper()
	p := &proxy{open: map[net.Conn]bool{}}
	return p, dbtest.NewProxy(t, postgresURL, p.passage, func() { p.set(cut) })
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

// passage remembers the two connections, to cut them, unless connections are being cut.
func (p *proxy) passage(client, server net.Conn) dbtest.Passage {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode.Load() == cut {
		return nil
	}
	p.open[client], p.open[server] = true, true
	return &passage{proxy: p}
}

// A passage is one connection through the proxy.
type passage struct {
	*proxy
	dropping bool // what belongs to a refused statement, up to its Sync
}

func (p *passage) ToClient() { p.awaitPassage() }

func (p *passage) ToServer(message []byte, first bool) ([]byte, error) {
	p.awaitPassage()
	message, p.dropping = p.judge(message, first, p.dropping)
	return message, nil
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
