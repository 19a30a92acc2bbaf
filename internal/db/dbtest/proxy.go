package dbtest

import (
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// A Passage is what a proxy does with one connection.
type Passage interface {
	// ToServer returns what the server gets in place of a client's message; nil is nothing, and an error
	// ends the connection. A message is a type, which the first has not, a length that counts itself, and
	// the rest (PostgreSQL manual, "Message Formats").
	ToServer(message []byte, first bool) (instead []byte, err error)
	// ToClient is called before bytes of the server go to the client.
	ToClient()
}

// NewProxy puts a proxy before a PostgreSQL until the test ends, and returns the URL that leads through
// it. Each connection gets a passage from open; nil refuses it. Before the proxy is closed, end is called:
// from then on open has to refuse, and connections have to end.
func NewProxy(t testing.TB, postgresURL string, open func(client, server net.Conn) Passage, end func()) (through string) {
	t.Helper()
	u, err := url.Parse(postgresURL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, server: u.Host, open: open}
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		l.Close()
		end()
		p.wg.Wait()
	})
	u.Host = l.Addr().String()
	return u.String()
}

type proxy struct {
	listener net.Listener
	server   string
	open     func(client, server net.Conn) Passage
	wg       sync.WaitGroup
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
	passage := p.open(client, server)
	if passage == nil {
		return
	}
	p.wg.Go(func() {
		defer client.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			passage.ToClient()
			if _, failed := client.Write(buffer[:n]); failed != nil || err != nil {
				return
			}
		}
	})
	for first := true; ; first = false {
		message, err := readMessage(client, first)
		if err != nil {
			return
		}
		if message, err = passage.ToServer(message, first); err != nil {
			return
		}
		if _, err := server.Write(message); err != nil {
			return
		}
	}
}

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
