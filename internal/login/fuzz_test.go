package login

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"

	"strongroom/internal/identity"
	"strongroom/internal/operation"
)

// FuzzReadClient reads whatever stands in the Authorization header and the form of a token request.
// A client that comes out has an id and exactly one credential; everything else is a refusal in the
// protocol's words.
func FuzzReadClient(f *testing.F) {
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	const form = "grant_type=client_credentials&client_id=a&scope=https://x/.default"
	for _, seed := range [][2]string{
		{"", form + "&client_secret=b"},
		{basic("a:b"), form},
		{basic("a"), form},
		{basic("%zz:b"), form},
		{"Basic ***", form},
		{basic("a:b"), form + "&client_secret=b"},
		{"basic " + strings.Repeat("=", 9), form},
		{"", form + "&client_assertion=x&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		{"", form + "&client_assertion=x&client_secret=b"},
		{"Bearer x", "scope=a b/.default"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, authorization, body string) {
		values, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		form := operation.Form(values)
		who, err := readClient(authorization, form)
		if err == nil && (who.id == "" || (who.secret.Len() > 0) == (who.assertion != "")) {
			t.Errorf("readClient(%q, %q) took a client with id %q", authorization, body, who.id)
		}
		resource, scopeErr := scopeResource(form)
		if scopeErr == nil && (resource == "" || strings.ContainsAny(resource, " \t\n")) {
			t.Errorf("scopeResource(%q) = %q", body, resource)
		}
		for _, err := range []error{err, scopeErr, checkForm(form)} {
			if _, ok := errors.AsType[*identity.SignInError](err); err != nil && !ok {
				t.Errorf("%q, %q: %v, want a refusal in the protocol's words", authorization, body, err)
			}
		}
	})
}
