package main

import (
	"bufio"
	"strings"
	"testing"
)

func TestReadAnswer(t *testing.T) {
	for _, tt := range []struct {
		in, body, err string
		status        int
	}{
		{in: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: b\r\n\r\nabc", status: 200, body: "abc"},
		{in: "HTTP/1.1 503 Busy\r\ncontent-length:0\r\n\r\n", status: 503},
		{in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", status: 200, body: "abc0123456789"},
		{in: "HTTP/1.1 200 OK\r\n\r\n", err: "no Content-Length"},
		{in: "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", err: "not a length"},
		{in: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", err: "EOF"},
		{in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", err: "length of a chunk"},
		{in: "HTTP/1.1 abc\r\n\r\n", err: "not a status"},
		{in: "nonsense, and more of it\r\n", err: "not an answer"},
		{in: "", err: "EOF"},
	} {
		a := answer{body: []byte("of the answer before")}
		err := a.read(bufio.NewReader(strings.NewReader(tt.in)))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("read(%q): %v, want an error with %q", tt.in, err, tt.err)
			}
			continue
		}
		if err != nil || a.status != tt.status || string(a.body) != tt.body {
			t.Errorf("read(%q) = %d %q, %v, want %d %q", tt.in, a.status, a.body, err, tt.status, tt.body)
		}
	}
}

// TestReadTwoAnswers leaves the second answer for the second call.
func TestReadTwoAnswers(t *testing.T) {
	r := bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab" +
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nc\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nd"))
	var a answer
	for _, want := range []string{"ab", "c", "d"} {
		if err := a.read(r); err != nil || string(a.body) != want {
			t.Fatalf("read %q, %v, want %q", a.body, err, want)
		}
	}
}

func TestAppendRequest(t *testing.T) {
	const head = " HTTP/1.1\r\nHost: h\r\n"
	for _, tt := range []struct {
		q    *request
		want string
	}{
		{get(7), "GET /secrets/s000007?api-version=7.6 HTTP/1.1\r\nHost: h\r\n\r\n"},
		{&request{method: "PUT", target: "/a", body: "{}"}, "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"},
	} {
		if got := string(tt.q.append(nil, head)); got != tt.want {
			t.Errorf("append = %q, want %q", got, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	right := `{"value":"` + secretValue(7) + `","id":"x"}`
	for _, tt := range []struct {
		status int
		body   string
		ok     bool
	}{
		{200, right, true},
		{429, right, false},
		{200, strings.Replace(right, "s000007", "s000008", 1), false},
		{200, "", false},
	} {
		if err := get(7).check(&answer{status: tt.status, body: []byte(tt.body)}); (err == nil) != tt.ok {
			t.Errorf("check(%d %q): %v, want ok %v", tt.status, tt.body, err, tt.ok)
		}
	}
}
