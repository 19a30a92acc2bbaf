//go:build unix

package hostile

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestSmuggling sends requests whose end a proxy and the server could see in different places.
// What is behind the end that the server sees is a request of its own, without the token of the
// first; it must never change anything, nor be taken for part of another.
func TestSmuggling(t *testing.T) {
	d := start(t, "limits.idle_timeout=1s", "limits.body_timeout=2s", "limits.header_timeout=2s")
	const inner = "DELETE /secrets/kept?api-version=7.6 HTTP/1.1\r\nHost: dev.vault.localhost\r\n\r\n"
	const put = "PUT /secrets/smuggled-name_?api-version=7.6" // its name is refused: 400 once the body is read
	const body = `{"value":"x"}`
	chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	tests := []struct {
		name string
		raw  string
		want []int // of the first answer
	}{
		{"length and chunks", request(put, d.allow(), "Content-Length: 4", "Transfer-Encoding: chunked") + chunk + inner, []int{400}},
		{"chunks and length", request(put, d.allow(), "Transfer-Encoding: chunked", fmt.Sprintf("Content-Length: %d", len(chunk)+len(inner))) + chunk + inner, []int{400}},
		{"two lengths", request(put, d.allow(), "Content-Length: 13", "Content-Length: 0") + body + inner, []int{400}},
		{"a list of lengths", request(put, d.allow(), "Content-Length: 13, 0") + body + inner, []int{400}},
		{"length with a sign", request(put, d.allow(), "Content-Length: +13") + body + inner, []int{400}},
		{"negative length", request(put, d.allow(), "Content-Length: -1") + body + inner, []int{400}},
		{"hexadecimal length", request(put, d.allow(), "Content-Length: 0xd") + body + inner, []int{400}},
		{"length over 63 bits", request(put, d.allow(), "Content-Length: 18446744073709551617") + body + inner, []int{400}},
		{"empty length", request(put, d.allow(), "Content-Length: ") + inner, []int{400}},
		{"unknown coding", request(put, d.allow(), "Transfer-Encoding: xchunked") + chunk + inner, []int{400, 501}},
		{"coding behind chunked", request(put, d.allow(), "Transfer-Encoding: chunked, identity") + chunk + inner, []int{400, 501}},
		{"chunked twice", request(put, d.allow(), "Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + chunk + inner, []int{400, 501}},
		{"identity", request(put, d.allow(), "Transfer-Encoding: identity", "Content-Length: 13") + body + inner, []int{400, 501}},
		{"coding with a tab", request(put, d.allow(), "Transfer-Encoding:\vchunked") + chunk + inner, []int{400, 501}},
		{"blank before the colon", request(put, d.allow(), "Transfer-Encoding : chunked", "Content-Length: 13") + body + inner, []int{400}},
		{"folded coding", request(put, d.allow(), "Transfer-Encoding:\r\n chunked") + chunk + inner, []int{400, 501}},
		{"chunk size is no number", request(put, d.allow(), "Transfer-Encoding: chunked") + "zz\r\n" + body + inner, []int{400}},
		{"chunk size over 64 bits", request(put, d.allow(), "Transfer-Encoding: chunked") + "fffffffffffffffff\r\n" + body + inner, []int{400}},
		{"chunk size with a sign", request(put, d.allow(), "Transfer-Encoding: chunked") + "-1\r\n" + body + inner, []int{400}},
		{"chunk longer than its size", request(put, d.allow(), "Transfer-Encoding: chunked") + "3\r\n" + body + "\r\n0\r\n\r\n" + inner, []int{400}},
		{"chunk lines end in LF", request(put, d.allow(), "Transfer-Encoding: chunked") + strings.ReplaceAll(chunk, "\r\n", "\n") + inner, []int{400}},
		{"chunk extension over the limit", request(put, d.allow(), "Transfer-Encoding: chunked") + "1;" + strings.Repeat("a", 1<<20) + "\r\nx\r\n", []int{400, 413}},
		{"a million empty extensions", request(put, d.allow(), "Transfer-Encoding: chunked") + strings.Repeat("1;a=b\r\n \r\n", 200000) + "0\r\n\r\n", []int{400, 413}},
		{"no last chunk", request(put, d.allow(), "Transfer-Encoding: chunked") + "d\r\n" + body + "\r\n", []int{400}},
		{"length longer than the body", request(put, d.allow(), "Content-Length: 100") + body, []int{400}},
		{"body of a GET", request("GET /secrets/kept?api-version=7.6", d.allow(), fmt.Sprintf("Content-Length: %d", len(inner))) + inner, []int{200}},
		{"token in a trailer", request("GET /secrets/kept?api-version=7.6", "Transfer-Encoding: chunked", "Trailer: Authorization") +
			"0\r\nAuthorization: Bearer " + d.token + "\r\n\r\n", []int{401}},
		{"unknown expectation", request(put, d.allow(), "Expect: a miracle", "Content-Length: 13") + body, []int{417}},
	}
	conversations := make([]conversation, len(tests))
	var all sync.WaitGroup
	for i, tt := range tests { // at once: each lasts until the server is tired of it
		c := d.dial("http/1.1")
		all.Go(func() { conversations[i] = converse(c, tt.raw) })
	}
	all.Wait()
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conversations[i].check(t, tt.want)
			if n := len(conversations[i].answers); n > 1 && strings.Contains(tt.raw, "Transfer-Encoding") {
				t.Errorf("%d answers: want nothing taken for a request behind one in chunks", n)
			}
		})
	}
	d.unchanged("smuggling")
}

// check wants the first answer to be one of those given, and all others to be refusals.
func (c conversation) check(t *testing.T, want []int) {
	t.Helper()
	if !c.closed {
		t.Error("the connection was still open long after the timeouts")
	}
	if len(c.answers) == 0 || !slices.Contains(want, c.answers[0].status) {
		t.Fatalf("got %v, want first one of %v", c.answers, want)
	}
	for _, a := range c.answers[1:] {
		if a.status != 401 && a.status != 400 {
			t.Errorf("what was smuggled got %d %s, want 401", a.status, a.body)
		}
	}
}
