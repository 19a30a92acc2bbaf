package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// A request is one step of a load. Its answer is right if its status is 200 and its body holds want.
type request struct {
	method, target, body string
	want                 []byte
}

// An endpoint is where requests go.
type endpoint struct {
	address string
	host    string // of the request, with its port
	token   string
	tls     *tls.Config
}

// A client is one keep-alive connection that speaks as little HTTP/1.1 as the load needs, so that
// the generator costs less than what it measures. It is for one goroutine.
type client struct {
	conn net.Conn
	r    *bufio.Reader
	head string // the headers of all requests
	out  []byte
	last answer
}

// dial connects; all requests on the connection have to be answered before the deadline.
func (e *endpoint) dial(deadline time.Time) (*client, error) {
	d := net.Dialer{Deadline: deadline}
	raw, err := d.Dial("tcp", e.address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, e.tls)
	if err := conn.SetDeadline(deadline); err != nil {
		conn.Close()
		return nil, err
	}
	if err := conn.Handshake(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return &client{
		conn: conn, r: bufio.NewReaderSize(conn, 16<<10),
		head: " HTTP/1.1\r\nHost: " + e.host + "\r\nUser-Agent: bench\r\nAccept: application/json\r\nAuthorization: Bearer " + e.token + "\r\n",
	}, nil
}

func (c *client) close() { c.conn.Close() }

// do sends a request and reads its answer, which is valid until the next call.
func (c *client) do(q *request) (*answer, error) {
	c.out = q.append(c.out[:0], c.head)
	if _, err := c.conn.Write(c.out); err != nil {
		return nil, err
	}
	if err := c.last.read(c.r); err != nil {
		return nil, fmt.Errorf("read the answer to %s %s: %w", q.method, q.target, err)
	}
	return &c.last, nil
}

// must is do, and checks the answer.
func (c *client) must(q *request) (*answer, error) {
	a, err := c.do(q)
	if err != nil {
		return nil, err
	}
	return a, q.check(a)
}

func (q *request) append(to []byte, head string) []byte {
	to = append(to, q.method...)
	to = append(to, ' ')
	to = append(to, q.target...)
	to = append(to, head...)
	if q.body != "" {
		to = append(to, "Content-Type: application/json\r\nContent-Length: "...)
		to = strconv.AppendInt(to, int64(len(q.body)), 10)
		to = append(to, "\r\n"...)
	}
	to = append(to, "\r\n"...)
	return append(to, q.body...)
}

func (q *request) check(a *answer) error {
	if a.status != 200 {
		return fmt.Errorf("%s %s was answered %d: %.200s", q.method, q.target, a.status, a.body)
	}
	if !bytes.Contains(a.body, q.want) {
		return fmt.Errorf("%s %s: the answer of %d bytes lacks %q", q.method, q.target, len(a.body), q.want)
	}
	return nil
}

// An answer is what came back. header holds its lines without line ends, for the ceiling to repeat.
type answer struct {
	status int
	header []byte
	body   []byte
}

var (
	contentLength = []byte("content-length:")
	chunked       = []byte("transfer-encoding: chunked")
)

// read reads one answer, reusing the memory of the one before.
func (a *answer) read(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return fmt.Errorf("not an answer: %.40q", line)
	}
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return fmt.Errorf("not a status: %.40q", line)
	}
	length, inChunks, err := a.readHeader(r)
	switch {
	case err != nil:
		return err
	case inChunks:
		return a.readChunks(r)
	case length < 0:
		return fmt.Errorf("status %d has no Content-Length", a.status)
	}
	a.body = a.body[:0]
	return a.grow(r, length)
}

// readHeader returns the length of the body, -1 if it is not said.
func (a *answer) readHeader(r *bufio.Reader) (length int, inChunks bool, err error) {
	length = -1
	a.header = a.header[:0]
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return length, inChunks, nil
		}
		a.header = append(append(a.header, line...), '\n')
		switch {
		case hasPrefixFold(line, contentLength):
			length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):])))
			if err != nil || length < 0 {
				return 0, false, fmt.Errorf("not a length: %.60q", line)
			}
		case hasPrefixFold(line, chunked):
			inChunks = true
		}
	}
}

func hasPrefixFold(line, prefix []byte) bool {
	return len(line) >= len(prefix) && bytes.EqualFold(line[:len(prefix)], prefix)
}

// readChunks reads a body of unknown length: net/http sends one that is longer than its buffer so.
func (a *answer) readChunks(r *bufio.Reader) error {
	a.body = a.body[:0]
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 24)
		if err != nil {
			return fmt.Errorf("not the length of a chunk: %.40q", line)
		}
		if err := a.grow(r, int(n)); err != nil {
			return err
		}
		if _, err := r.Discard(2); err != nil { // the end of the chunk's line, or of the last
			return err
		}
		if n == 0 {
			return nil
		}
	}
}

// grow reads n bytes more of the body.
func (a *answer) grow(r *bufio.Reader, n int) error {
	have := len(a.body)
	if cap(a.body) < have+n {
		a.body = append(make([]byte, 0, 2*(have+n)), a.body...)
	}
	a.body = a.body[:have+n]
	_, err := io.ReadFull(r, a.body[have:])
	return err
}
