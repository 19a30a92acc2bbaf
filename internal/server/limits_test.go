package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// TestSecretLimits stores what is just within a limit and is refused what is just beyond. Limits
// of values are bytes of UTF-8, however the body spells them; others are characters.
func TestSecretLimits(t *testing.T) {
	const tooLong = "Secret is beyond the maximum permitted length of 25600 characters."
	text := func(value string) string { return `{"value":"` + value + `"}` }
	tagged := func(name, value string) string { return `{"value":"x","tags":{"` + name + `":"` + value + `"}}` }
	tests := []struct {
		name, body string
		status     int
		says       string // a part of a refusal
		bytes      int    // of the value that is read back
	}{
		{"25600 bytes", text(strings.Repeat("a", 25600)), 200, "", 25600},
		{"25601 bytes", text(strings.Repeat("a", 25601)), 400, tooLong, 0},
		{"25600 escapes", text(strings.Repeat(`\u0041`, 25600)), 200, "", 25600},
		{"25600 zero bytes", text(strings.Repeat(`\u0000`, 25600)), 200, "", 25600},
		{"25601 escapes", text(strings.Repeat(`\u0041`, 25601)), 400, tooLong, 0},
		{"12800 letters of two bytes", text(strings.Repeat("é", 12800)), 200, "", 25600},
		{"12801 letters of two bytes", text(strings.Repeat(`\u00e9`, 12801)), 400, tooLong, 0},
		{"body over its limit", text(strings.Repeat("a", 400<<10)), 413, "RequestBodyTooLarge", 0},
		{"255 characters of contentType", `{"value":"x","contentType":"` + strings.Repeat("é", 255) + `"}`, 200, "", 1},
		{"256 characters of contentType", `{"value":"x","contentType":"` + strings.Repeat("é", 256) + `"}`, 400, "BadParameter", 0},
		{"tag of 512 characters", tagged(strings.Repeat("é", 512), strings.Repeat("ü", 512)), 200, "", 1},
		{"tag name of 513 characters", tagged(strings.Repeat("é", 513), ""), 400, "BadParameter", 0},
		{"tag value of 513 characters", tagged("a", strings.Repeat("é", 513)), 400, "BadParameter", 0},
		{"last date", `{"value":"x","attributes":{"exp":253402300799}}`, 200, "", 1},
		{"date after the last", `{"value":"x","attributes":{"exp":253402300800}}`, 400, "BadParameter", 0},
	}
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		tr := newTranscript(t, start(t))
		for i, tt := range tests {
			path := fmt.Sprintf("vault:/secrets/limit%d", i)
			resp := tr.send("officer", "PUT", path, tt.body)
			if resp.Status != tt.status || !strings.Contains(string(resp.Body), tt.says) {
				t.Errorf("%s: got %d, %.300s, want %d with %q", tt.name, resp.Status, resp.Body, tt.status, tt.says)
			}
			if tt.status != http.StatusOK {
				if resp := tr.send("reader", "GET", path, ""); resp.Status != http.StatusNotFound {
					t.Errorf("%s: reading it = %d, want 404", tt.name, resp.Status)
				}
				continue
			}
			var got struct{ Value string }
			if err := json.Unmarshal(tr.must("reader", "GET", path, ""), &got, json.MatchCaseInsensitiveNames(true)); err != nil {
				t.Fatal(err)
			}
			if len(got.Value) != tt.bytes {
				t.Errorf("%s: %d bytes were read back, want %d", tt.name, len(got.Value), tt.bytes)
			}
		}
	})
}

// TestPages follows the links of every list of secrets through all its pages: each item stands on
// one page, and none of more than was asked for.
func TestPages(t *testing.T) {
	const count = 60
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		tr := newTranscript(t, start(t))
		for i := range count {
			tr.must("officer", "PUT", fmt.Sprintf("vault:/secrets/s%02d", i), `{"value":"x"}`)
			tr.must("officer", "PUT", "vault:/secrets/versions", `{"value":"x"}`)
			tr.must("officer", "PUT", fmt.Sprintf("vault:/secrets/gone%02d", i), `{"value":"x"}`)
			tr.must("officer", "DELETE", fmt.Sprintf("vault:/secrets/gone%02d", i), "")
		}
		for _, tt := range []struct {
			path  string
			sizes []int
		}{
			{"/secrets", []int{25, 25, 11}},
			{"/secrets?maxresults=25", []int{25, 25, 11}},
			{"/secrets?maxresults=20", []int{20, 20, 20, 1}},
			{"/secrets/versions/versions", []int{25, 25, 10}},
			{"/secrets/Versions/versions?maxresults=20", []int{20, 20, 20}},
			{"/deletedsecrets", []int{25, 25, 10}},
			{"/deletedsecrets?maxresults=20", []int{20, 20, 20}},
		} {
			ids, sizes := tr.pages(tt.path)
			if !slices.Equal(sizes, tt.sizes) {
				t.Errorf("GET %s: pages of %v items, want %v", tt.path, sizes, tt.sizes)
			}
			slices.Sort(ids)
			if unique := len(slices.Compact(slices.Clone(ids))); unique != len(ids) {
				t.Errorf("GET %s: %d different items, want %d", tt.path, unique, len(ids))
			}
		}
	})
}

// pages reads a list of vault kv1 to its end and returns the ids and the sizes of the pages.
func (tr *transcript) pages(path string) (ids []string, sizes []int) {
	tr.t.Helper()
	host := "https://" + tr.app.families[0].VaultHost("kv1").Text
	for path != "" {
		var page struct {
			Value    []struct{ ID string }
			NextLink *string
		}
		body := tr.must("reader", "GET", "vault:"+path, "")
		if err := json.Unmarshal(body, &page, json.MatchCaseInsensitiveNames(true)); err != nil {
			tr.t.Fatal(err)
		}
		for _, item := range page.Value {
			ids = append(ids, item.ID)
		}
		sizes = append(sizes, len(page.Value))
		path = ""
		if page.NextLink != nil {
			var ok bool
			if path, ok = strings.CutPrefix(*page.NextLink, host); !ok {
				tr.t.Fatalf("next link %q, want one of %s", *page.NextLink, host)
			}
		}
	}
	return ids, sizes
}
