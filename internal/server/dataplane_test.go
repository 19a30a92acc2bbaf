package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

// TestLargestBodies sends all that is legal at once, in the longest way to write it in JSON: six
// bytes for a byte of the value, twelve for a character of tags and content type.
func TestLargestBodies(t *testing.T) {
	const character = `\ud83d\udd11` // one, U+1F511
	tags := make([]string, 15)
	for i := range tags {
		tags[i] = fmt.Sprintf(`"\u00%02x%s":"%s"`, 'a'+i, strings.Repeat(character, 511), strings.Repeat(character, 512))
	}
	rest := `"contentType":"` + strings.Repeat(character, 255) + `","tags":{` + strings.Join(tags, ",") + `}}`
	set, update := `{"value":"`+strings.Repeat(`\u0001`, 25600)+`",`+rest, `{`+rest
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		tr := newTranscript(t, start(t))
		for _, tt := range []struct{ method, body string }{{"PUT", set}, {"PATCH", update}} {
			body := tr.must("officer", tt.method, "vault:/secrets/a", tt.body)
			if n := strings.Count(string(body), "🔑"); n != 15*1023+255 {
				t.Errorf("%s of %d bytes: %d characters come back, want %d", tt.method, len(tt.body), n, 15*1023+255)
			}
		}
		tr.must("officer", "PATCH", "vault:/secrets/a", `{"tags":{}}`)
		if resp := tr.send("officer", "PATCH", "vault:/secrets/a", update[:len(update)-1]+strings.Repeat(" ", 128<<10)+"}"); resp.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("PATCH of %d bytes = %d, want 413", len(update)+128<<10, resp.Status)
		}
	})
}

// TestNextLinkNamesThePort follows a link under a family on port 443, which ids leave out: the link
// names it, and is good for the next page.
func TestNextLinkNamesThePort(t *testing.T) {
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		tr := newTranscript(t, start(t))
		for i := range 3 {
			tr.must("officer", "PUT", fmt.Sprintf("vault:/secrets/s%d", i), `{"value":"x"}`)
		}
		run := tr.app.families[1].VaultURL("kv1")
		if strings.Contains(strings.TrimPrefix(run, "https://"), ":") {
			t.Fatalf("%s names a port: want a family without one", run)
		}
		link, seen := run+"/secrets?api-version=7.6&maxresults=1", ""
		for range 3 {
			page := tr.getPage(link)
			for _, item := range page.Value {
				seen += " " + strings.TrimPrefix(item.ID, run)
			}
			if link = page.NextLink; link != "" && !strings.HasPrefix(link, run+":443/secrets?") {
				t.Errorf("next link %s, want one of %s:443", link, run)
			}
		}
		if seen != " /secrets/s0 /secrets/s1 /secrets/s2" || link != "" {
			t.Errorf("items%s and then %q, want three", seen, link)
		}
	})
}

type page struct {
	Value    []struct{ ID string }
	NextLink string
}

// getPage asks for a URL as a client does.
func (tr *transcript) getPage(url string) (out page) {
	tr.t.Helper()
	text, target, _ := strings.Cut(strings.TrimPrefix(url, "https://"), "/")
	host, ok := tr.app.families.Resolve(text)
	if !ok {
		tr.t.Fatalf("GET %s: nobody's host", url)
	}
	path, query, _ := strings.Cut("/"+target, "?")
	resp := tr.app.pipeline.Do(tr.t.Context(), tr.app.faces[resource.Vault], &operation.Request{
		Method: http.MethodGet, Path: path, Query: query, Header: http.Header{}, Host: host, Caller: tr.callers["reader"],
	})
	if resp.Status != http.StatusOK {
		tr.t.Fatalf("GET %s = %d %s", url, resp.Status, resp.Body)
	}
	if err := json.Unmarshal(resp.Body, &out, json.MatchCaseInsensitiveNames(true)); err != nil {
		tr.t.Fatal(err)
	}
	return out
}
