package dataplane

import (
	"encoding/base64"
	"testing"

	"github.com/go-json-experiment/json"

	"strongroom/internal/apierr"
	"strongroom/internal/secrets"
)

// FuzzSecretBodies reads bodies of PUT and PATCH of a secret: what passes is within the limits.
func FuzzSecretBodies(f *testing.F) {
	for _, seed := range []string{
		`{"value":"x","contentType":"y","attributes":{"enabled":true,"nbf":1,"exp":2},"tags":{"a":"b"}}`,
		`{"value":"","attributes":{"exp":null}}`, `{"value":"x","attributes":{"exp":1e3}}`, `{"value":"x","attributes":{"exp":-1}}`,
		`{"value":"x","attributes":{"exp":253402300800}}`, `{"value":"x","tags":{"a":null}}`, `{"value":null}`, `{"value":"\u0000"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fits := func(at *int64) bool { return at == nil || *at >= 0 && *at <= secrets.MaxDate }
		var set SecretSet
		if json.Unmarshal(body, &set, json.MatchCaseInsensitiveNames(true)) == nil {
			d := set.draft()
			if d.Check() == nil && (d.Value.Len() > secrets.MaxValue || len(d.Tags) > secrets.MaxTags || !fits(d.NotBefore) || !fits(d.Expires)) {
				t.Errorf("%q passes beyond a limit", body)
			}
		}
		var change SecretUpdate
		if json.Unmarshal(body, &change, json.MatchCaseInsensitiveNames(true)) == nil {
			p := change.patch()
			if p.Check() == nil && (!fits(p.NotBefore.At) || !fits(p.Expires.At) || p.Tags != nil && len(*p.Tags) > secrets.MaxTags) {
				t.Errorf("%q passes beyond a limit", body)
			}
		}
	})
}

// FuzzDecodeBase64 reads the four forms of base64, and nothing that has two meanings.
func FuzzDecodeBase64(f *testing.F) {
	for _, seed := range []string{"", "AA", "AA==", "-_", "+/", "A", "AB", "====", "A\nA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := decodeBase64(text)
		if _, ok := apierr.As(err); err != nil && !ok {
			t.Errorf("decodeBase64(%q) = %v, want a refusal", text, err)
		}
		if again, err2 := decodeBase64(base64.RawURLEncoding.EncodeToString(b)); err == nil && (err2 != nil || string(again) != string(b)) {
			t.Errorf("decodeBase64(%q) = %x, which does not come back", text, b)
		}
	})
}
