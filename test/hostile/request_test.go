//go:build unix

package hostile

import (
	"strings"
	"testing"

	"strongroom/test/served"
)

// allow is the caller's token as a header.
func (d *deployment) allow() string { return "Authorization: Bearer " + d.token }

// TestSynonymsOfPaths is the other side of the paths in the table: odd forms that clients send and that reach
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

// skipToken takes the token off the next link of a list of the vault.
func (d *deployment) skipToken(target string) string {
	d.t.Helper()
	return d.skipTokenOf(served.VaultHost, target)
}

func (d *deployment) skipTokenOf(host, target string) string {
	d.t.Helper()
	var page struct{ NextLink string }
	d.MustDecode(d.Must("GET", host+target, ""), &page)
	_, token, _ := strings.Cut(page.NextLink, "$skiptoken=")
	token, _, _ = strings.Cut(token, "&")
	if token == "" {
		d.t.Fatalf("no skip token in %q", page.NextLink)
	}
	return token
}

// TestHostsThatPass is the other side of the hosts in the table: what a forwarded port, old clients and proxies
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
