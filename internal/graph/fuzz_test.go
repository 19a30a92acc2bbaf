package graph

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"strongroom/internal/apierr"
	"strongroom/internal/resource"
)

func FuzzParseFilter(f *testing.F) {
	for _, seed := range []string{"appId eq 'x'", "names/any(c:c eq 'x''y')", "appId eq 'x", "names/any(c:d eq 'x')", " ", "appId eq '" + strings.Repeat("''", 99) + "'"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseFilter(text, "appId", "names/any")
		if _, ok := apierr.As(err); err != nil && (!ok || got != filter{}) {
			t.Errorf("parseFilter(%q) = %v, %v, want a refusal and nothing else", text, got, err)
		}
		if err == nil && strings.TrimSpace(text) != "" && got.property == "" {
			t.Errorf("parseFilter(%q) passes everything", text)
		}
	})
}

// FuzzBodies reads the bodies of the directory that hold a text with a form of its own.
func FuzzBodies(f *testing.F) {
	for _, seed := range []string{
		`{"@odata.id":"https://x/directoryObjects/00000000-0000-4000-8000-000000000001"}`, `{"@odata.id":"%zz"}`, `{"@odata.id":"/"}`,
		`{"keyCredentials":[{"type":"AsymmetricX509Cert","usage":"Verify","key":"AAAA"}]}`, `{"keyCredentials":[{"key":"*"}]}`,
		`{"passwordCredential":{"endDateTime":"2030-01-01T00:00:00Z"}}`, `{"passwordCredential":{"endDateTime":"0000-00-00T00:00:00Z"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var member MemberReference
		if json.Unmarshal(body, &member, json.MatchCaseInsensitiveNames(true)) == nil {
			id, err := member.objectID()
			if (err == nil) != resource.IsGUID(id) || id != strings.ToLower(id) {
				t.Errorf("%q: object id %q, %v", body, id, err)
			}
		}
		var change ApplicationChange
		if json.Unmarshal(body, &change, json.MatchCaseInsensitiveNames(true)) == nil {
			if added, err := newKeys(change.Keys); err == nil && len(added) > len(change.Keys) {
				t.Errorf("%q: %d keys", body, len(added))
			}
		}
		var password NewPassword
		_ = json.Unmarshal(body, &password, json.MatchCaseInsensitiveNames(true)) // it must not panic
	})
}
