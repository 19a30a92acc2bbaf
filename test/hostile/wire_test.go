//go:build unix

package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// An answer is what came back; status 0 means that the connection ended without one.
type answer struct {
	status int
	header http.Header
	body   string
}

// code is the code of the face's envelope of an error, or "". Each protocol has one of its own:
// vaults, management and directory {"error":{"code"}}, sign-in {"error","error_codes"}, IMDS
// {"error"}, App Service {"statusCode"}, which has none but the status.
func (a answer) code() string {
	var envelope struct {
		Error       jsontext.Value `json:"error"`
		Description string         `json:"error_description"`
		Codes       []int          `json:"error_codes"`
		StatusCode  int            `json:"statusCode"`
		Message     string         `json:"message"`
	}
	if !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") || json.Unmarshal([]byte(a.body), &envelope) != nil {
		return ""
	}
	var detail struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	var word string
	switch {
	case envelope.StatusCode == a.status && envelope.Message != "":
		return fmt.Sprintf("statusCode=%d", a.status)
	case json.Unmarshal(envelope.Error, &word) == nil && envelope.Description != "":
		for _, number := range envelope.Codes {
			word += fmt.Sprintf("/%d", number)
		}
		return word
	case json.Unmarshal(envelope.Error, &detail) == nil && detail.Message != "":
		return detail.Code
	}
	return ""
}

// ask sends bytes on a connection of their own and returns the first answer.
func (d *deployment) ask(raw string) answer {
	d.t.Helper()
	c := d.dial("http/1.1")
	defer c.Close()
	go io.WriteString(c, raw) // the server may answer and close before it has read all
	return next(bufio.NewReader(c), strings.HasPrefix(raw, "HEAD "))
}

// A conversation is all that a server says on a connection.
type conversation struct {
	answers []answer
	closed  bool // by the server; else it was still open after patience
}

// converse sends bytes and reads answers until the server closes the connection.
func converse(c net.Conn, raw string) (out conversation) {
	defer c.Close()
	go io.WriteString(c, raw)
	r := bufio.NewReader(c)
	for {
		a := next(r, false)
		if a.status == 0 {
			_, err := r.ReadByte()
			out.closed = !isTimeout(err)
			return out
		}
		out.answers = append(out.answers, a)
	}
}

// next reads an answer. What a server says in between (100 Continue) is passed over.
func next(r *bufio.Reader, toHead bool) answer {
	method := http.MethodGet
	if toHead {
		method = http.MethodHead
	}
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return answer{}
	}
	if resp.StatusCode < 200 {
		return next(r, toHead)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// untilClosed reads until the server ends the connection. It returns the first answer, if one
// came, and how long it took; closed is false if the connection was still open after patience.
func untilClosed(c net.Conn) (a answer, took time.Duration, closed bool) {
	began := time.Now()
	c.SetReadDeadline(began.Add(patience))
	r := bufio.NewReader(c)
	a = next(r, false)
	_, err := io.Copy(io.Discard, r)
	return a, time.Since(began), !isTimeout(err)
}

// drip writes text one byte at a time until the connection fails or the text ends.
func drip(w io.Writer, text string) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := range len(text) {
		if _, err := io.WriteString(w, text[i:i+1]); err != nil {
			return
		}
		<-tick.C
	}
}
