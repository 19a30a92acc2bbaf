package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// TestListsFollowChanges asks for the same pages again and again, so that they come from memory, and
// changes between two of them what they show.
func TestListsFollowChanges(t *testing.T) {
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		tr := newTranscript(t, start(t))
		for _, step := range []struct{ method, path, body, first, second string }{
			{"PUT", "secrets/a", `{"value":"1"}`, "a=", ""},
			{"PUT", "secrets/c", `{"value":"1","contentType":"old"}`, "a= c=old", ""},
			{"PUT", "secrets/b", `{"value":"1"}`, "a= b=", "c=old"},
			{"PUT", "secrets/c", `{"value":"2","contentType":"new"}`, "a= b=", "c=new"},
			{"PATCH", "secrets/a/", `{"contentType":"changed"}`, "a=changed b=", "c=new"},
			{"DELETE", "secrets/b", ``, "a=changed c=new", ""},
			{"POST", "deletedsecrets/b/recover", ``, "a=changed b=", "c=new"},
			{"DELETE", "secrets/a", ``, "b= c=new", ""},
			{"DELETE", "deletedsecrets/a", ``, "b= c=new", ""},
		} {
			tr.must("admin", step.method, "vault:/"+step.path, step.body)
			for range 3 {
				first, next := tr.listed("vault:/secrets?maxresults=2")
				second := ""
				if next != "" {
					_, query, _ := strings.Cut(next, "?")
					second, _ = tr.listed("vault:/secrets?" + query)
				}
				if first != step.first || second != step.second {
					t.Fatalf("after %s %s: pages %q and %q, want %q and %q", step.method, step.path, first, second, step.first, step.second)
				}
			}
		}
	})
}

// listed is a page as "name=contentType" for each secret, and the link to the next one.
func (tr *transcript) listed(target string) (page, next string) {
	tr.t.Helper()
	var list struct {
		Value []struct {
			ID          string `json:"id"`
			ContentType string `json:"contentType"`
		} `json:"value"`
		NextLink string `json:"nextLink"`
	}
	if err := json.Unmarshal(tr.must("reader", http.MethodGet, target, ""), &list); err != nil {
		tr.t.Fatal(err)
	}
	var shown []string
	for _, item := range list.Value {
		shown = append(shown, item.ID[strings.LastIndex(item.ID, "/")+1:]+"="+item.ContentType)
	}
	return strings.Join(shown, " "), list.NextLink
}
