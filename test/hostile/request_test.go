//go:build unix

package hostile

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"strongroom/test/served"
)

// A hostileRequest is a request as bytes, with what it may get. A status of 0 stands for a
// connection that ends without an answer.
type hostileRequest struct {
	name, raw string
	want      []int
	code      string // of the error envelope; "" where no face has its say, or none refuses
}

// run sends each request on a connection of its own, and looks at the state after each.
func (d *deployment) run(t *testing.T, requests []hostileRequest) {
	for _, tt := range requests {
		t.Run(tt.name, func(t *testing.T) {
			a := d.ask(tt.raw)
			if !slices.Contains(tt.want, a.status) || tt.code != "" && a.code() != tt.code {
				t.Errorf("%.200q: got %d %.300s; want one of %v, code %q", tt.raw, a.status, a.body, tt.want, tt.code)
			}
			if a.status == http.StatusInternalServerError {
				t.Errorf("the server blames itself: %s", a.body)
			}
			d.unchanged(tt.name)
		})
	}
}

// allow is the caller's token as a header.
func (d *deployment) allow() string { return "Authorization: Bearer " + d.token }

// TestPaths asks for what does not exist and for ways round the routes, with and without a token.
func TestPaths(t *testing.T) {
	d := start(t)
	var requests []hostileRequest
	add := func(name, line string, status int, code string) {
		requests = append(requests, hostileRequest{name, request(line, d.allow()), []int{status}, code})
	}
	for _, method := range []string{"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "G3T", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} {
		for _, path := range []string{"/", "/no/such/thing", "/secrets/kept/versions/x/y", "/keys/kept", "/audit/entries", "/about", "/metrics", "/healthz", "/subscriptions/x"} {
			if method == "CONNECT" {
				path = served.VaultHost + ":443" // its form of a target
			}
			add(method+" "+path, method+" "+path+"?api-version=7.6", 404, "NotFound")
			requests = append(requests, hostileRequest{method + " " + path + " without a token", request(method + " " + path), []int{401}, "Unauthorized"})
			if method == "CONNECT" {
				break
			}
		}
	}
	for line, status := range map[string]int{
		"PUT /secrets":                                    405,
		"POST /secrets/kept":                              405,
		"PUT /deletedsecrets/kept":                        405,
		"PATCH /deletedsecrets/kept":                      405,
		"GET /deletedsecrets/kept/recover":                405,
		"DELETE /secrets":                                 405,
		"DELETE /secrets/":                                405,
		"DELETE /secrets//":                               405,
		"DELETE /secrets/%2F":                             405,
		"GET /secrets/%2e%2e":                             400,
		"GET /secrets/./kept":                             400, // "." is no name
		"GET /secrets/../secrets/kept":                    404,
		"GET /%2e%2e/%2e%2e/etc/passwd":                   404,
		"GET /secrets/..%2f..%2fetc%2fpasswd":             400,
		"GET /secrets/kept%00":                            400,
		"GET /secrets/%00":                                400,
		"GET /secrets%00/kept":                            404,
		"GET /secrets/kept%0d%0aX-Injected:1":             400,
		"GET /secrets/kept%20":                            400,
		"GET /secrets/kept;v=1":                           400,
		"GET /secrets/kept%3Fapi-version=7.6":             400,
		"GET /secrets/kept%23":                            400,
		"GET /secrets/%C0%AE":                             400,
		"GET /secrets/%ff%fe":                             400,
		"GET /secrets/k%E1%BA%BDpt":                       400,
		"GET /secrets/%E2%84%AAept":                       400, // the Kelvin sign folds to k
		"GET /%C5%BFecrets/kept":                          404, // the long s folds to s
		"GET /\\secrets\\kept":                            404,
		"GET /secrets/*":                                  400,
		"GET /secrets/" + strings.Repeat("a", 128):        400,
		"GET /secrets/kept/" + strings.Repeat("f", 33):    404,
		"GET /secrets/kept/%00":                           404,
		"GET /secrets/kept/..":                            404,
		"DELETE /secrets/kept/" + strings.Repeat("0", 32): 405,
		"PATCH /secrets/kept/" + strings.Repeat("0", 32):  400, // no body
		"GET /" + strings.Repeat("a/", 5000):              404,
		"GET /" + strings.Repeat("/", 5000) + "secretsx":  404,
		"POST /secrets/none/backup":                       404,
		"POST /deletedsecrets/kept/recover":               404,
		"DELETE /deletedsecrets/kept":                     404,
		"GET /secrets/" + strings.Repeat("%2F", 100) + "/no/such/version/": 404,
	} {
		add(line, line+"?api-version=7.6", status, "")
	}
	d.run(t, requests)
}

// TestSynonymsOfPaths is the other side of TestPaths: odd forms that clients send and that reach
// the secret.
func TestSynonymsOfPaths(t *testing.T) {
	d := start(t)
	for _, target := range []string{
		"//secrets/kept?api-version=7.6", "/secrets//kept/?api-version=7.6", "/SECRETS/KEPT?API-VERSION=7.6",
		"/%73ecrets/kept?api%2Dversion=7.6", "/secrets/kept/%2F?api-version=7.6",
	} {
		if a := d.ask(request("GET "+target, d.allow())); a.status != 200 || !strings.Contains(a.body, "as it was") {
			t.Errorf("GET %s: got %d %s, want the secret", target, a.status, a.body)
		}
	}
	d.unchanged("synonyms")
}

// TestQueries sends query strings that are malformed or ask for what is not there.
func TestQueries(t *testing.T) {
	d := start(t)
	foreign := d.skipToken("/secrets?api-version=7.6&maxresults=1")
	var requests []hostileRequest
	for _, target := range []string{
		"/secrets/kept", "/secrets/kept?", "/secrets/kept?api-version", "/secrets/kept?api-version=",
		"/secrets/kept?api-version=7.6&api-version=7.6", "/secrets/kept?api-version=7.6&Api-Version=7.5",
		"/secrets/kept?api-version=7.6;x=y", "/secrets/kept?api-version=7.6&x=%", "/secrets/kept?api-version=7.6&x=%zz",
		"/secrets/kept?api-version=99999999999999999999", "/secrets/kept?api-version=7.6%00", "/secrets/kept?api-version=-1",
		"/secrets/kept?api-version=7.6%0d%0aX:1", "/secrets/kept?api-version=2024-13-45", "/secrets/kept?api-version=1e3",
		"/secrets/kept?api-version=7.6&outContentType=application/x-evil",
		"/secrets?api-version=7.6&maxresults=0", "/secrets?api-version=7.6&maxresults=-1", "/secrets?api-version=7.6&maxresults=26",
		"/secrets?api-version=7.6&maxresults=1e1", "/secrets?api-version=7.6&maxresults=99999999999999999999",
		"/secrets?api-version=7.6&$skiptoken=x", "/secrets?api-version=7.6&$skiptoken=" + strings.Repeat("A", 9000),
		"/secrets?api-version=7.6&$skiptoken=" + foreign + "A", "/secrets?api-version=7.6&$skiptoken=A" + foreign,
		"/secrets?api-version=7.6&$skiptoken=" + foreign[:len(foreign)/2],
		"/deletedsecrets?api-version=7.6&$skiptoken=" + foreign,
		"/secrets/kept/versions?api-version=7.6&$skiptoken=" + foreign,
		"/secrets?api-version=7.6&$skiptoken=" + start(t).skipToken("/secrets?api-version=7.6&maxresults=1"),
	} {
		requests = append(requests, hostileRequest{target, request("GET "+target, d.allow()), []int{400}, "BadParameter"})
	}
	d.run(t, requests)
}

// skipToken takes the token off the next link of a list.
func (d *deployment) skipToken(target string) string {
	d.t.Helper()
	var page struct{ NextLink string }
	d.MustDecode(d.Must("GET", served.VaultHost+target, ""), &page)
	_, token, _ := strings.Cut(page.NextLink, "$skiptoken=")
	token, _, _ = strings.Cut(token, "&")
	if token == "" {
		d.t.Fatalf("no skip token in %q", page.NextLink)
	}
	return token
}

// TestHosts asks under names that are not the server's, or are no names.
func TestHosts(t *testing.T) {
	d := start(t)
	const line = "GET /secrets/kept?api-version=7.6 HTTP/1.1"
	var requests []hostileRequest
	for _, host := range []string{
		"example.com", "localhost", "vault.localhost", "127.0.0.1", "127.0.0.1:8443", "[::1]", "[::1]:8443", d.Listen,
		"a.b.vault.localhost", ".vault.localhost", "..vault.localhost", "dev.vault.localhost.example.com", "dev_.vault.localhost",
		"evildev.vault.localhost.", "dev.xvault.localhost", "dev.vault.localhost@example.com", "*.vault.localhost",
		strings.Repeat("a", 64) + ".vault.localhost", strings.Repeat("a.", 500) + "vault.localhost",
		"dev.vault.localhost:x", "dev.vault.localhost:-1", "dev.vault.localhost:1:2",
		"dev.vault.localhost:8443,evil=x", "dev.vault.localhost:443;x", "[dev.vault.localhost]:443", "management.azure.com",
	} {
		// A name of a vault that does not exist is 404, to those with a token.
		requests = append(requests, hostileRequest{"host " + host, bare(line, "Host: "+host, d.allow()), []int{400, 421, 404}, ""})
	}
	for name, headers := range map[string][]string{
		"no host": {}, "empty host": {"Host: "}, "two hosts": {"Host: dev.vault.localhost", "Host: dev.vault.localhost"},
		"two hosts, one foreign": {"Host: dev.vault.localhost", "Host: example.com"},
		"host with a blank":      {"Host: dev.vault.localhost x"}, "host with a quote": {`Host: dev.vault.localhost:1"`},
		"host with a slash": {"Host: dev.vault.localhost/x"}, "host with a tab": {"Host: dev.vault.localhost\tx"},
		"host with a newline": {"Host: dev.vault.localhost\nX: y\nHost: z"}, "host with user": {"Host: user:pw@dev.vault.localhost"},
	} {
		requests = append(requests, hostileRequest{name, bare(line, append(headers, d.allow())...), []int{400, 421}, ""})
	}
	absolute := func(url string) string {
		return bare("GET "+url+"/secrets/kept?api-version=7.6 HTTP/1.1", "Host: dev.vault.localhost", d.allow())
	}
	requests = append(requests,
		hostileRequest{"absolute form, foreign", absolute("https://example.com"), []int{400, 421}, ""},
		hostileRequest{"absolute form, another face", absolute("https://management.localhost"), []int{401}, "InvalidAuthenticationTokenAudience"},
		hostileRequest{"absolute form, of a file", absolute("file:///etc/passwd"), []int{400, 404, 421}, ""},
		hostileRequest{"HTTP/1.0 without a host", bare("GET /secrets/kept?api-version=7.6 HTTP/1.0", d.allow()), []int{421}, ""},
	)
	d.run(t, requests)
}

// TestHostsThatPass is the other side of TestHosts: what a forwarded port, old clients and proxies
// make of the name.
func TestHostsThatPass(t *testing.T) {
	d := start(t)
	const line = "GET /secrets/kept?api-version=7.6 HTTP/1.1"
	for _, raw := range []string{
		bare(line, "Host: dev.vault.localhost:12345", d.allow()), bare(line, "Host: DEV.Vault.LocalHost", d.allow()),
		bare("GET https://dev.vault.localhost/secrets/kept?api-version=7.6 HTTP/1.1", "Host: dev.vault.localhost", d.allow()),
		bare("GET /secrets/kept?api-version=7.6 HTTP/1.0", "Host: dev.vault.localhost", d.allow()),
	} {
		if a := d.ask(raw); a.status != 200 || strings.Contains(raw, ":12345") && !strings.Contains(a.body, "https://dev.vault.localhost:12345/secrets/kept/") {
			t.Errorf("%.80q: got %d %s, want the secret under the name that was asked", raw, a.status, a.body)
		}
	}
}

// TestHeadersThatAreIgnored tries to be another method, host, address or path by headers that
// proxies and frameworks honour.
func TestHeadersThatAreIgnored(t *testing.T) {
	d := start(t)
	headers := []string{
		"X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-HTTP-REQUEST: DELETE", "X-Method-Override: DELETE",
		"X-Forwarded-Host: evil.example", "X-Forwarded-Proto: http", "X-Forwarded-Port: 1", "X-Forwarded-For: 203.0.113.9",
		"X-Real-IP: 203.0.113.9", "Forwarded: for=203.0.113.9;host=evil.example;proto=http", "X-Original-URL: /secrets/spare",
		"X-Rewrite-URL: /secrets/spare", "True-Client-IP: 203.0.113.9", "CF-Connecting-IP: 203.0.113.9", "X-Host: evil.example",
		"X-Forwarded-Server: evil.example", "X-Forwarded-Prefix: /evil", "Range: bytes=0-0", "If-None-Match: *", "Upgrade: h2c",
		"HTTP2-Settings: AAMAAABkAAQAAP__", "Connection: Upgrade, HTTP2-Settings, Authorization", "Max-Forwards: 0",
		"x-ms-client-request-id: a\tb", "User-Agent: marked",
	}
	a := d.ask(request("GET /secrets/kept?api-version=7.6", append(headers, d.allow())...))
	if a.status != 200 || !strings.Contains(a.body, `"id":"https://dev.vault.localhost/secrets/kept/`) {
		t.Errorf("got %d %s, want the secret", a.status, a.body)
	}
	if info := a.header.Get("X-Ms-Keyvault-Network-Info"); !strings.Contains(info, "addr=127.0.0.1;") {
		t.Errorf("the connection is %q, want one from 127.0.0.1", info)
	}
	d.isUnauthorized(t, d.ask(request("GET /secrets/kept", headers...)))
	if a := d.ask(request("POST /secrets/kept?api-version=7.6", append(headers, d.allow())...)); a.status != 405 {
		t.Errorf("POST with an override: got %d %s, want 405", a.status, a.body)
	}
	for _, e := range d.entries(1) {
		if e.Properties.ClientInfo == "marked" && e.CallerIPAddress != "127.0.0.1" {
			t.Errorf("an entry has the address %q, want that of the connection", e.CallerIPAddress)
		}
	}
	d.unchanged("ignored headers")
}

// TestHeaderLimits sends headers that are too long, too many or malformed.
func TestHeaderLimits(t *testing.T) {
	d := start(t)
	const line = "GET /secrets/kept?api-version=7.6"
	many := make([]string, 5000)
	for i := range many {
		many[i] = fmt.Sprintf("X-Header-%d: %d", i, i)
	}
	var requests []hostileRequest
	for name, raw := range map[string]string{
		"40 KB header":          request(line, d.allow(), "X-Long: "+strings.Repeat("a", 40<<10)),
		"40 KB name":            request(line, d.allow(), strings.Repeat("a", 40<<10)+": x"),
		"5,000 headers":         request(line, append(many, d.allow())...),
		"33 KB URL":             request("GET /secrets/"+strings.Repeat("a", 37<<10), d.allow()),
		"33 KB query":           request("GET /secrets/kept?api-version=7.6&x="+strings.Repeat("a", 37<<10), d.allow()),
		"40 KB host":            bare(line+" HTTP/1.1", "Host: "+strings.Repeat("a", 40<<10), d.allow()),
		"40 KB token":           request(line, "Authorization: Bearer "+strings.Repeat("a", 40<<10)),
		"1 MB of blanks":        request(line, d.allow(), "X: "+strings.Repeat(" ", 1<<20)),
		"endless request line":  strings.Repeat("A", 1<<20),
		"endless line of blank": strings.Repeat("\r\n", 1<<19),
	} {
		requests = append(requests, hostileRequest{name, raw, []int{431, 400, 414, 0}, ""})
	}
	for name, header := range map[string]string{
		"no colon": "X", "blank before the colon": "X : y", "empty name": ": y", "name with a blank": "X Y: z",
		"NUL in a value": "X: a\x00b", "NUL in a name": "X\x00: a", "CR in a value": "X: a\rb", "DEL": "X: a\x7fb",
		"folded": "X: a\r\n b", "blank line folded": "X: a\r\n \r\n b", "folded first": " X: a", "UTF-8 name": "é: x",
	} {
		requests = append(requests, hostileRequest{name, bare(line+" HTTP/1.1", header, "Host: dev.vault.localhost"), []int{400, 401}, ""})
	}
	for _, version := range []string{"HTTP/0.9", "HTTP/2.0", "HTTP/3.0", "HTTP/1", "HTTP/1.1x", "HTTP/11.1", "http/1.1", "ICY/1.1", "HTTP/-1.1", ""} {
		requests = append(requests, hostileRequest{"version " + version, bare(line+" "+version, "Host: dev.vault.localhost", d.allow()), []int{400, 505}, ""})
	}
	d.run(t, requests)
}
