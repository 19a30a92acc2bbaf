//go:build unix

package hostile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

const setTarget = "PUT /secrets/kept?api-version=7.6"

// withBody is a request with the caller's token and a body of the declared length.
func (d *deployment) withBody(line, body string, headers ...string) string {
	headers = append(headers, d.allow(), "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body)))
	return request(line, headers...) + body
}

// TestBodies sends bodies that are no JSON, or not the JSON that the operation wants.
func TestBodies(t *testing.T) {
	d := start(t)
	deep := func(open, end string, n int) string { return strings.Repeat(open, n) + "1" + strings.Repeat(end, n) }
	var requests []hostileRequest
	for name, body := range map[string]string{
		"empty":                     "",
		"blanks":                    "   ",
		"NUL":                       "\x00",
		"cut short":                 `{"value":"x"`,
		"trailing data":             `{"value":"x"}{"value":"y"}`,
		"trailing comma":            `{"value":"x",}`,
		"comment":                   `{"value":"x"/* */}`,
		"single quotes":             `{'value':'x'}`,
		"NaN":                       `{"value":"x","attributes":{"exp":NaN}}`,
		"duplicate":                 `{"value":"x","value":"y"}`,
		"duplicate in other case":   `{"value":"x","Value":"y"}`,
		"duplicate by an escape":    `{"value":"x","\u0076alue":"y"}`,
		"duplicate unknown":         `{"value":"x","z":1,"z":2}`,
		"duplicate attribute":       `{"value":"x","attributes":{"enabled":true,"ENABLED":false}}`,
		"duplicate tag":             `{"value":"x","tags":{"a":"1","a":"2"}}`,
		"missing value":             `{"contentType":"x"}`,
		"value null":                `{"value":null}`,
		"value a number":            `{"value":1}`,
		"value a list":              `{"value":["x"]}`,
		"value an object":           `{"value":{"x":"y"}}`,
		"a list":                    `[{"value":"x"}]`,
		"a string":                  `"value"`,
		"null":                      `null`,
		"a number":                  `1`,
		"a form":                    `value=x&api-version=7.6`,
		"XML":                       `<value>x</value>`,
		"nested 10,001 lists":       `{"value":"x","z":` + deep("[", "]", 10001) + `}`,
		"nested 10,001 objects":     `{"value":"x","z":` + deep(`{"a":`, "}", 10001) + `}`,
		"nested 50,000 unclosed":    strings.Repeat("[", 50000),
		"huge exponent":             `{"value":"x","attributes":{"exp":1e999999}}`,
		"huge number":               `{"value":"x","attributes":{"exp":` + strings.Repeat("9", 10000) + `}}`,
		"number over 63 bits":       `{"value":"x","attributes":{"exp":9223372036854775808}}`,
		"negative date":             `{"value":"x","attributes":{"nbf":-1}}`,
		"date with a fraction":      `{"value":"x","attributes":{"nbf":1.5}}`,
		"date as text":              `{"value":"x","attributes":{"exp":"2030-01-01T00:00:00Z"}}`,
		"date after 9999":           `{"value":"x","attributes":{"exp":253402300800}}`,
		"enabled a number":          `{"value":"x","attributes":{"enabled":1}}`,
		"attributes a list":         `{"value":"x","attributes":[]}`,
		"tags a list":               `{"value":"x","tags":[]}`,
		"tag a number":              `{"value":"x","tags":{"a":1}}`,
		"tag null":                  `{"value":"x","tags":{"a":null}}`,
		"16 tags":                   `{"value":"x","tags":{` + strings.Join(numbered(16), ",") + `}}`,
		"tag too long":              `{"value":"x","tags":{"a":"` + strings.Repeat("x", 513) + `"}}`,
		"content type too long":     `{"value":"x","contentType":"` + strings.Repeat("x", 256) + `"}`,
		"value too long":            `{"value":"` + strings.Repeat("x", 25601) + `"}`,
		"value too long in bytes":   `{"value":"` + strings.Repeat("é", 12801) + `"}`,
		"lone high surrogate":       `{"value":"\ud800"}`,
		"lone low surrogate":        `{"value":"\udc00x"}`,
		"surrogates in false order": `{"value":"\udc00\ud800"}`,
		"short escape":              `{"value":"\u12"}`,
		"unknown escape":            `{"value":"\x41"}`,
		"control character":         "{\"value\":\"a\nb\"}",
		"invalid UTF-8":             "{\"value\":\"\xff\"}",
		"overlong UTF-8":            "{\"value\":\"\xc0\xaf\"}",
		"surrogate in UTF-8":        "{\"value\":\"\xed\xa0\x80\"}",
		"invalid UTF-8 in a name":   "{\"value\":\"x\",\"\xff\":1}",
		"byte order mark":           "\ufeff" + `{"value":"x"}`,
		"UTF-16, little end":        asUTF16(binary.LittleEndian, `{"value":"x"}`),
		"UTF-16, big end":           asUTF16(binary.BigEndian, `{"value":"x"}`),
		"gzip":                      zipped(t, `{"value":"x"}`),
		"a million members":         "{" + strings.Repeat(`"a":1,`, 40000) + `"b":1}`,
	} {
		requests = append(requests, hostileRequest{name, d.withBody(setTarget, body), []int{400}, "BadParameter"})
	}
	requests = append(requests,
		hostileRequest{"gzip, and says so", d.withBody(setTarget, zipped(t, `{"value":"x"}`), "Content-Encoding: gzip"), []int{400, 415}, ""},
		hostileRequest{"1 MiB of blanks", d.withBody(setTarget, strings.Repeat(" ", 1<<20)), []int{413}, "RequestBodyTooLarge"},
		hostileRequest{"64 MiB of zeros", d.withBody(setTarget, strings.Repeat("\x00", 64<<20)), []int{413}, "RequestBodyTooLarge"},
		hostileRequest{"large settings", d.withBody("PATCH /secrets/kept?api-version=7.6", strings.Repeat(" ", 256<<10)+"{}"), []int{413}, "RequestBodyTooLarge"},
		hostileRequest{"restore of a foreign blob", d.withBody("POST /secrets/restore?api-version=7.6", `{"value":"`+strings.Repeat("A", 1<<20)+`"}`), []int{400}, "BadParameter"},
		hostileRequest{"restore of no base64", d.withBody("POST /secrets/restore?api-version=7.6", `{"value":"***"}`), []int{400}, "BadParameter"},
		hostileRequest{"patch of a list", d.withBody("PATCH /secrets/kept?api-version=7.6", `[{"op":"remove","path":"/tags"}]`), []int{400}, "BadParameter"},
		hostileRequest{"patch without a token", strings.Replace(d.withBody("PATCH /secrets/kept?api-version=7.6", "{"), d.allow(), "X: y", 1), []int{401}, "Unauthorized"},
	)
	d.run(t, requests)
}

func numbered(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(`"tag%d":"x"`, i)
	}
	return out
}

func asUTF16(order binary.AppendByteOrder, s string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune("\ufeff" + s)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

func zipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
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
