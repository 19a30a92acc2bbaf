package login

import (
	"cmp"
	"encoding/base64"
	"net/url"
	"strings"

	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
)

// A client is what a token request says of its sender: an id, and one of secret or assertion.
type client struct {
	id        string
	secret    envelope.Value
	assertion string
}

// assertionType is the one form of client assertions (RFC 7523, 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// readClient takes the client's credential from the form or from a Basic header.
func readClient(authorization string, form operation.Form) (client, error) {
	who := client{id: form.Get("client_id"), assertion: form.Get("client_assertion")}
	if s := form.Get("client_secret"); s != "" {
		who.secret = envelope.NewValue([]byte(s))
	}
	if err := who.addBasic(authorization); err != nil {
		return client{}, err
	}
	switch {
	case who.id == "":
		return client{}, missing("client_id")
	case who.secret.Len() > 0 && who.assertion != "":
		return client{}, twoCredentials()
	case who.secret.Len() > 0:
		return who, nil
	case who.assertion == "":
		return client{}, identity.NewSignInError(identity.CodeNoCredential)
	}
	switch form.Get("client_assertion_type") {
	case assertionType:
		return who, nil
	case "":
		return client{}, missing("client_assertion_type")
	}
	return client{}, identity.NewSignInError(identity.CodeMalformedRequest, "The parameter 'client_assertion_type' is not "+assertionType+".")
}

// addBasic reads client_secret_basic: both parts are form-encoded before they are put together
// (RFC 6749, 2.3.1). Other schemes are passed over, as the service does.
func (who *client) addBasic(authorization string) error {
	scheme, text, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	id, secret, ok := strings.Cut(string(raw), ":")
	if err != nil || !ok {
		return malformedBasic()
	}
	if id, err = url.QueryUnescape(id); err != nil {
		return malformedBasic()
	}
	if secret, err = url.QueryUnescape(secret); err != nil {
		return malformedBasic()
	}
	if who.secret.Len() > 0 || who.id != "" && !strings.EqualFold(who.id, id) {
		return twoCredentials()
	}
	who.id = id
	if secret != "" {
		who.secret = envelope.NewValue([]byte(secret))
	}
	return nil
}

func malformedBasic() error {
	return identity.NewSignInError(identity.CodeMalformedRequest, "The Authorization header has no client id and secret in the Basic form.")
}

func twoCredentials() error {
	return identity.NewSignInError(identity.CodeAmbiguousCredentials, "the client proves itself in more than one way")
}

// authenticate checks the client's credential.
func (f *face) authenticate(tx *db.Tx, c *operation.Call, who client) (p identity.Principal, credential string, method identity.Method, err error) {
	if who.assertion != "" {
		p, credential, err = f.Store.CheckAssertion(tx, who.id, who.assertion, f.assertionAudiences(c.Host, cmp.Or(c.Param("tenant"), adfsTenant)))
		return p, credential, identity.ByCertificate, err
	}
	p, credential, err = f.Store.CheckSecret(tx, who.id, who.secret)
	return p, credential, identity.BySecret, err
}
