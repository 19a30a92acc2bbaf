//go:build unix

package hostile

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"strongroom/test/served"
)

// http2Client speaks HTTP/2 to the listener, whatever the host of the URL.
func (d *deployment) http2Client() *http.Client {
	transport := d.Transport()
	transport.ForceAttemptHTTP2 = true
	return &http.Client{Transport: transport, Timeout: patience}
}

// TestManyStreams sends more requests at once than one connection may have streams.
func TestManyStreams(t *testing.T) {
	d := start(t, "limits.concurrent_streams=50")
	client := d.http2Client()
	var all sync.WaitGroup
	for i := range 500 {
		all.Go(func() {
			req, _ := http.NewRequest(http.MethodGet, "https://dev.vault.localhost/secrets/kept?api-version=7.6", nil)
			want := 401
			if i%2 == 0 {
				req.Header.Set("Authorization", "Bearer "+d.token)
				want = 200
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Errorf("stream %d: %v", i, err)
				return
			}
			defer resp.Body.Close()
			if resp.StatusCode != want || resp.ProtoMajor != 2 {
				t.Errorf("stream %d: got %s %d, want HTTP/2 %d", i, resp.Proto, resp.StatusCode, want)
			}
		})
	}
	all.Wait()
	d.unchanged("many streams")
}

// The kinds of HTTP/2 frames and flags that the tests write (RFC 9113, 6).
const (
	dataFrame, headersFrame, resetFrame, settingsFrame, pingFrame, goAwayFrame, windowFrame, continuationFrame = 0, 1, 3, 4, 6, 7, 8, 9

	endStream, endHeaders = 1, 4

	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

func frame(kind, flags byte, stream uint32, payload string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = append(b, flags)
	return string(binary.BigEndian.AppendUint32(b, stream)) + payload
}

// hello is the start of a connection with default settings.
var hello = preface + frame(settingsFrame, 0, 0, "")

// block encodes names and values by turns, each as a literal that is not indexed (RFC 7541, 6.2.2).
func block(fields ...string) string {
	var b strings.Builder
	for i, s := range fields {
		if i%2 == 0 {
			b.WriteByte(0)
		}
		if len(s) < 127 {
			b.WriteByte(byte(len(s)))
		} else {
			b.WriteByte(127)
			b.Write(binary.AppendUvarint(nil, uint64(len(s)-127)))
		}
		b.WriteString(s)
	}
	return b.String()
}

// stream is a request of one frame.
func (d *deployment) stream(fields ...string) string {
	return frame(headersFrame, endHeaders|endStream, 1, block(fields...))
}

// An ending is how a stream or its connection came to an end.
type ending struct {
	answered bool // with a whole answer
	ok       bool // with status 200
	body     string
	reset    bool // of the stream
	goAway   bool
	closed   bool // of the connection, within patience
}

// endOf sends bytes and reads frames until stream 1 or the connection has ended.
func (d *deployment) endOf(raw string) (e ending) {
	d.t.Helper()
	c := d.dial("h2")
	defer c.Close()
	go io.WriteString(c, raw)
	r := bufio.NewReader(c)
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(r, head); err != nil {
			e.closed = !isTimeout(err)
			return e
		}
		payload := make([]byte, binary.BigEndian.Uint32(head)>>8)
		if _, err := io.ReadFull(r, payload); err != nil {
			e.closed = !isTimeout(err)
			return e
		}
		stream := binary.BigEndian.Uint32(head[5:])
		switch head[3] {
		case headersFrame:
			e.ok = len(payload) > 0 && payload[0] == 0x88 // ":status: 200" in the static table
		case dataFrame:
			e.body += string(payload)
		case resetFrame:
			e.reset = true
			return e
		case goAwayFrame:
			e.goAway = true
		}
		if (head[3] == headersFrame || head[3] == dataFrame) && stream == 1 && head[4]&endStream != 0 {
			e.answered = true
			return e
		}
	}
}

// TestHTTP2Requests sends streams whose headers contradict the protocol. A control shows that the
// frames as such are right.
func TestHTTP2Requests(t *testing.T) {
	d := start(t)
	get := []string{":method", "GET", ":scheme", "https", ":authority", served.VaultHost, ":path", "/secrets/kept?api-version=7.6", "authorization", "Bearer " + d.token}
	if e := d.endOf(hello + d.stream(get...)); !e.ok || !strings.Contains(e.body, "as it was") {
		t.Fatalf("an honest stream ended as %+v, want the secret", e)
	}
	// A Host header beside the authority does not count.
	if e := d.endOf(hello + d.stream(append(slices.Clone(get), "host", "example.com")...)); !strings.Contains(e.body, `"id":"https://dev.vault.localhost/`) {
		t.Errorf("a stream with a foreign host ended as %+v, want the secret under the name of the authority", e)
	}
	with := func(fields ...string) []string { return append(slices.Clone(get), fields...) }
	replaced := func(name, value string) []string {
		out := slices.Clone(get)
		out[slices.Index(out, name)+1] = value
		return out
	}
	for name, fields := range map[string][]string{
		"no method":                 get[2:],
		"no path":                   append(slices.Clone(get[:6]), get[8:]...),
		"two paths":                 with(":path", "/"),
		"pseudo-header behind":      with(":authority", "example.com"),
		"unknown pseudo-header":     append([]string{":evil", "x"}, get...),
		"two authorities":           append([]string{":authority", "example.com"}, get...),
		"foreign authority":         replaced(":authority", "example.com"),
		"authority with a quote":    replaced(":authority", `dev.vault.localhost:1", evil="x`),
		"authority with a newline":  replaced(":authority", "dev.vault.localhost\r\nX: y"),
		"authority with a blank":    replaced(":authority", "dev.vault.localhost x"),
		"authority with user":       replaced(":authority", "user@dev.vault.localhost"),
		"authority, port no number": replaced(":authority", "dev.vault.localhost:x"),
		"path without a slash":      replaced(":path", "secrets/kept"),
		"path with a blank":         replaced(":path", "/secrets/kept HTTP/1.1\r\nX: y"),
		"path is a URL":             replaced(":path", "https://example.com/secrets/kept"),
		"empty path":                replaced(":path", ""),
		"method with a newline":     replaced(":method", "GET / HTTP/1.1\r\nX: y"),
		"empty method":              replaced(":method", ""),
		"upper-case name":           with("X-Evil", "y"),
		"connection header":         with("connection", "close"),
		"chunked":                   with("transfer-encoding", "chunked"),
		"newline in a value":        with("x", "a\r\nauthorization: b"),
		"NUL in a value":            with("x", "a\x00b"),
		"name with a colon":         with("x:y", "z"),
		"two tokens":                with("authorization", "Bearer "+d.token),
		"40 KB of headers":          with("x", strings.Repeat("a", 40<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			e := d.endOf(hello + headerFrames(block(fields...)))
			if ended := e.reset || e.goAway || e.closed || e.answered; !ended || e.ok || strings.Contains(e.body, "as it was") {
				t.Errorf("%q: ended as %+v, want a refusal", fields, e)
			}
			d.unchanged(name)
		})
	}
}

// headerFrames spreads a block over as many frames as it needs.
func headerFrames(b string) string {
	const largest = 16 << 10
	first := b[:min(len(b), largest)]
	b = b[len(first):]
	if b == "" {
		return frame(headersFrame, endHeaders|endStream, 1, first)
	}
	out := frame(headersFrame, endStream, 1, first)
	for b != "" {
		part := b[:min(len(b), largest)]
		b = b[len(part):]
		flags := byte(0)
		if b == "" {
			flags = endHeaders
		}
		out += frame(continuationFrame, flags, 1, part)
	}
	return out
}

// TestHTTP2Framing breaks the framing: the connection has to end, and no other to suffer.
func TestHTTP2Framing(t *testing.T) {
	d := start(t, "limits.idle_timeout=3s", "limits.header_timeout=3s")
	ask := block(":method", "GET", ":scheme", "https", ":authority", served.VaultHost, ":path", "/secrets")
	var floods, resets strings.Builder
	for i := range uint32(5000) {
		resets.WriteString(frame(headersFrame, endHeaders|endStream, 2*i+1, ask) + frame(resetFrame, 0, 2*i+1, "\x00\x00\x00\x08"))
		floods.WriteString(frame(pingFrame, 0, 0, "12345678") + frame(settingsFrame, 0, 0, ""))
	}
	tests := map[string]string{
		"garbage for a preface":    strings.Repeat("GARBAGE ", 100),
		"HTTP/1.1 for a preface":   request("GET /secrets"),
		"preface, then garbage":    preface + strings.Repeat("\xff", 1000),
		"preface alone":            preface,
		"hello alone":              hello,
		"frame over the limit":     hello + frame(dataFrame, 0, 1, strings.Repeat("a", 1<<20)),
		"declared 16 MiB":          hello + "\xff\xff\xff\x01\x04\x00\x00\x00\x01",
		"data without a stream":    hello + frame(dataFrame, 0, 1, "x"),
		"headers on stream 0":      hello + frame(headersFrame, endHeaders|endStream, 0, ask),
		"headers on an even one":   hello + frame(headersFrame, endHeaders|endStream, 2, ask),
		"bad compression":          hello + frame(headersFrame, endHeaders|endStream, 1, "\xff\xff\xff\xff\xff\xff"),
		"window of nothing":        hello + frame(windowFrame, 0, 0, "\x00\x00\x00\x00"),
		"window overflow":          hello + strings.Repeat(frame(windowFrame, 0, 0, "\x7f\xff\xff\xff"), 2),
		"ping of another size":     hello + frame(pingFrame, 0, 0, "1"),
		"settings of another size": hello + frame(settingsFrame, 0, 0, "12345"),
		"endless continuations":    hello + frame(headersFrame, 0, 1, ask) + strings.Repeat(frame(continuationFrame, 0, 1, block("x", strings.Repeat("a", 1000))), 20000),
		"empty continuations":      hello + frame(headersFrame, 0, 1, ask) + strings.Repeat(frame(continuationFrame, 0, 1, ""), 20000),
		"continuation that waits":  hello + frame(headersFrame, 0, 1, ask),
		"pings and settings":       hello + floods.String(),
		"rapid resets":             hello + resets.String(),
	}
	var all sync.WaitGroup
	for name, raw := range tests {
		c := d.dial("h2")
		all.Go(func() {
			go io.WriteString(c, raw)
			began := time.Now()
			_, err := io.Copy(io.Discard, c)
			if isTimeout(err) || time.Since(began) > cutOff+4*time.Second {
				t.Errorf("%s: the connection was still open after %v", name, time.Since(began))
			}
		})
	}
	d.prompts(5, "while frames are broken")
	all.Wait()
	d.prompts(1, "after broken frames")
	d.unchanged("broken frames")
}

// TestTransport speaks old TLS, no TLS, or nonsense to the port.
func TestTransport(t *testing.T) {
	d := start(t, "limits.header_timeout=2s")
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		config := d.trust("http/1.1")
		config.MinVersion, config.MaxVersion = version, version
		if c, err := tls.Dial("tcp", d.Listen, config); err == nil {
			c.Close()
			t.Errorf("%s was accepted, want a refusal", tls.VersionName(version))
		}
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := d.trust("http/1.1")
		config.MinVersion, config.MaxVersion = version, version
		c, err := tls.Dial("tcp", d.Listen, config)
		if err != nil {
			t.Errorf("%s: %v, want it accepted", tls.VersionName(version), err)
			continue
		}
		c.Close()
	}
	for name, raw := range map[string]string{
		"plain HTTP":         d.authorized(),
		"plain HTTP/2":       hello,
		"garbage":            strings.Repeat("\xde\xad\xbe\xef", 1000),
		"SSL 2":              "\x80\x2e\x01\x00\x02" + strings.Repeat("\x00", 100),
		"alert alone":        "\x15\x03\x03\x00\x02\x02\x28",
		"heartbeat":          "\x18\x03\x02\x00\x03\x01\x40\x00",
		"record of 64 KiB":   "\x16\x03\x01\xff\xff" + strings.Repeat("\x01", 1<<16),
		"hello of 16 MiB":    "\x16\x03\x01\x40\x00\x01\xff\xff\xff" + strings.Repeat("\x00", 1<<15),
		"application data":   "\x17\x03\x03\x00\x05hello",
		"another protocol's": "SSH-2.0-OpenSSH_9.9\r\n",
	} {
		c := d.connect(false)
		go io.WriteString(c, raw)
		a, took, closed := untilClosed(c)
		if !closed || took > cutOff || a.status != 0 && a.status != 400 {
			t.Errorf("%s: got %d, closed %v after %v; want a closed connection, or 400 on it", name, a.status, closed, took)
		}
	}
	d.unchanged("broken transport")
}
