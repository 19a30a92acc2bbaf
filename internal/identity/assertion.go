package identity

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"strongroom/internal/db"
)

const (
	maxAssertion = 16 << 10 // bytes; one with a chain in x5c has about 6 KiB
	// assertionSkew is what a client's clock may be off, in both directions. Entra ID allows as much.
	assertionSkew = 5 * time.Minute
)

// assertionAlgorithms are those of an RSA certificate. PS256 is what Entra ID recommends, RS256
// what az, Terraform and older libraries send.
var assertionAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.PS256}

// An assertion is a client's signed statement that it is the client (RFC 7523, 2.2). NotBefore
// is optional there.
type assertion struct {
	Issuer    string         `json:"iss"`
	Subject   string         `json:"sub"`
	Audience  jsontext.Value `json:"aud"`
	NotBefore numericDate    `json:"nbf"`
	Expires   numericDate    `json:"exp"`
}

// A numericDate is in seconds since 1970, and may have a fraction (RFC 7519, 2), which MSAL Python sends.
type numericDate float64

// lastDate keeps dates where they can be compared.
const lastDate = 1 << 40

func (n numericDate) time() time.Time { return time.Unix(int64(max(0, min(n, lastDate))), 0) }

// CheckAssertion signs an application in by an assertion. The certificate that was registered
// decides, found by the thumbprint in the header; certificates and keys in the header are not
// looked at. audiences are the forms of the token endpoint's URL and issuer that stand for this
// server, compared exactly. Assertions may be repeated until they expire, as in Entra ID. A
// refusal is a *SignInError.
func (s *Store) CheckAssertion(tx *db.Tx, appID, text string, audiences []string) (p Principal, credentialID string, err error) {
	have, err := s.signInCredentials(tx, appID, Certificate)
	if err != nil {
		return Principal{}, "", err
	}
	jws, ok := parseCompact(text, maxAssertion, assertionAlgorithms)
	if !ok {
		return Principal{}, "", NewSignInError(CodeMalformedAssertion)
	}
	c, reason := named(have, jws.Signatures[0].Protected)
	if reason == "" && (tx.Now.Before(c.NotBefore) || !tx.Now.Before(c.Expires)) {
		reason = "The certificate is outside its validity."
	}
	if reason != "" {
		return Principal{}, "", NewSignInError(CodeAssertionKey, appID, reason)
	}
	payload, err := verifyByCertificate(jws, c)
	if err != nil {
		return Principal{}, "", err
	}
	if err := checkAssertion(payload, appID, audiences, tx.Now); err != nil {
		return Principal{}, "", err
	}
	p, err = s.signedIn(tx, c)
	return p, c.ID, err
}

// parseCompact reads a JWS in compact form whose algorithm is among those given, and nothing
// else: no other serialisation, no blanks, which decoders are lenient about.
func parseCompact(text string, limit int, algorithms []jose.SignatureAlgorithm) (*jose.JSONWebSignature, bool) {
	if len(text) > limit || strings.ContainsFunc(text, notCompact) {
		return nil, false
	}
	for part := range strings.SplitSeq(text, ".") { // the library takes stray bits in a part's last character
		if _, err := base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return nil, false
		}
	}
	jws, err := jose.ParseSignedCompact(text, algorithms)
	return jws, err == nil
}

func notCompact(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
}

// named finds the credential that the header names: by x5t#S256 if it has one, else by x5t, else
// by a kid that is a thumbprint, which Terraform sends. reason says why there is none.
func named(have []Credential, h jose.Header) (c Credential, reason string) {
	name := h.KeyID
	for _, member := range []jose.HeaderKey{"x5t", "x5t#S256"} {
		if v, ok := h.ExtraHeaders[member]; ok {
			name, _ = v.(string)
		}
	}
	if name == "" {
		return Credential{}, "The header names no key by x5t#S256, x5t or kid."
	}
	wanted := thumbprint(name)
	for _, c := range have {
		if wanted != "" && (wanted == c.ThumbprintSHA256 || wanted == c.ThumbprintSHA1) {
			return c, ""
		}
	}
	return Credential{}, "The key was not found."
}

// thumbprint decodes a SHA-1 or SHA-256 thumbprint to lower-case hex: MSAL Go sends base64 with
// padding, MSAL Python base64url, Terraform base64url with padding, some others hex. It is ""
// for anything else.
func thumbprint(s string) string {
	if b, err := hex.DecodeString(s); err == nil && (len(b) == 20 || len(b) == 32) {
		return strings.ToLower(s)
	}
	s = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(s, "="))
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != 20 && len(b) != 32 {
		return ""
	}
	return hex.EncodeToString(b)
}

func verifyByCertificate(jws *jose.JSONWebSignature, c Credential) ([]byte, error) {
	cert, err := x509.ParseCertificate(c.Certificate)
	if err != nil {
		return nil, fmt.Errorf("parse the certificate of credential %s: %w", c.ID, err)
	}
	payload, err := jws.Verify(cert.PublicKey)
	if err != nil {
		return nil, NewSignInError(CodeAssertionKey, c.AppID, "The signature does not verify.")
	}
	return payload, nil
}

func checkAssertion(payload []byte, appID string, audiences []string, now time.Time) error {
	var a assertion
	if err := json.Unmarshal(payload, &a); err != nil || a.Expires == 0 {
		return NewSignInError(CodeMalformedAssertion)
	}
	audience, ok := a.audience()
	switch {
	case !ok || !slices.Contains(audiences, audience):
		return NewSignInError(CodeAssertionAudience, audience)
	case a.Issuer != a.Subject:
		return NewSignInError(CodeSubjectNotIssuer)
	case !strings.EqualFold(a.Subject, appID):
		return NewSignInError(CodeAssertionClient)
	case !now.Before(a.Expires.time().Add(assertionSkew)),
		now.Add(assertionSkew).Before(a.NotBefore.time()):
		return NewSignInError(CodeAssertionTime, now.Format(time.RFC3339))
	}
	return nil
}

// audience is the one audience: a string, or a list of one string (RFC 7519, 4.1.3).
func (a assertion) audience() (string, bool) {
	var one string
	if json.Unmarshal(a.Audience, &one) == nil {
		return one, one != ""
	}
	var list []string
	if json.Unmarshal(a.Audience, &list) != nil || len(list) != 1 {
		return "", false
	}
	return list[0], true
}
