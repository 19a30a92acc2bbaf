//go:build unix

package hostile

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

const setTarget = "PUT /secrets/kept?api-version=7.6"

// withBody is a request with the caller's token and a body of the declared length.
func (d *deployment) withBody(line, body string, headers ...string) string {
	headers = append(headers, d.allow(), "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body)))
	return request(line, headers...) + body
}

// TestConnectionAfterTooLargeBody sends a second request behind a body that is over the limit: it
// is answered, or the connection was closed behind a complete first answer.
func TestConnectionAfterTooLargeBody(t *testing.T) {
	d := start(t)
	for _, size := range []int{385 << 10, 500 << 10, 8 << 20} {
		c := d.dial("http/1.1")
		go io.WriteString(c, d.withBody(setTarget, strings.Repeat(" ", size))+d.authorized())
		r := bufio.NewReader(c)
		if a := next(r, false); a.status != 413 || a.code() != "RequestBodyTooLarge" {
			t.Errorf("%d bytes: got %d %s, want 413 RequestBodyTooLarge", size, a.status, a.body)
		}
		if a := next(r, false); !slices.Contains([]int{0, 200}, a.status) {
			t.Errorf("%d bytes: the request behind it got %d %s, want 200 or a closed connection", size, a.status, a.body)
		}
		c.Close()
	}
	d.unchanged("too large bodies")
}

// TestExpectContinue offers bodies that the server need not see: a refusal comes before them.
func TestExpectContinue(t *testing.T) {
	d := start(t)
	for _, tt := range []struct {
		headers []string
		want    int
	}{
		{[]string{"Expect: 100-continue", "Content-Length: 1000000"}, 401},
		{[]string{"Expect: 100-continue", "Content-Length: 9000000000000000000"}, 401},
	} {
		began := time.Now()
		if a := d.ask(request(setTarget, tt.headers...)); a.status != tt.want || time.Since(began) > prompt {
			t.Errorf("%q: got %d after %v, want %d at once", tt.headers, a.status, time.Since(began), tt.want)
		}
	}
	d.unchanged("bodies that were not sent")
}
