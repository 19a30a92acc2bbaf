//go:build unix

package hostile

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"
)

// newCertificate is a key with a certificate for it, in DER.
func newCertificate(t *testing.T) (*rsa.PrivateKey, []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

// thumbprint names a certificate in an assertion's header (RFC 7515, 4.1.8).
func thumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return encode(sum[:])
}

// An assertionMaker makes client assertions that hold but for what is asked to be otherwise.
type assertionMaker struct {
	t                         *testing.T
	thumbprint, app, audience string
}

// signed is an assertion with other header members and claims; nil takes one away.
func (a assertionMaker) signed(header, change claims, key *rsa.PrivateKey) string {
	return a.with(header, change, func(input []byte) []byte { return rs256(a.t, key, input) })
}

func (a assertionMaker) with(header, change claims, sign func([]byte) []byte) string {
	a.t.Helper()
	now := time.Now().Unix()
	head := claims{"alg": "RS256", "typ": "JWT", "x5t#S256": a.thumbprint}
	body := claims{"iss": a.app, "sub": a.app, "aud": a.audience, "nbf": now - 60, "exp": now + 600, "jti": "1"}
	override(head, header)
	override(body, change)
	return signed(a.t, head, encode(marshal(a.t, body)), sign)
}

func override(all, with claims) {
	maps.Copy(all, with)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
}

// badClaims are assertions with a good signature over what must not hold.
func (a assertionMaker) badClaims(key *rsa.PrivateKey) map[string]string {
	now := time.Now().Unix()
	out := map[string]string{}
	for name, change := range map[string]claims{
		"expired": {"exp": now - 3600}, "no end": {"exp": nil}, "end is text": {"exp": "tomorrow"}, "end is negative": {"exp": -1},
		"not yet valid": {"nbf": now + 3600}, "end is a list": {"exp": []int64{now + 600}}, "another audience": {"aud": "https://attacker.invalid/token"},
		"no audience": {"aud": nil}, "two audiences": {"aud": []string{a.audience, "https://attacker.invalid/token"}},
		"audience is a number": {"aud": 1}, "empty audience": {"aud": ""}, "audience longer": {"aud": a.audience + "/x"},
		"another issuer": {"iss": "https://attacker.invalid"}, "no issuer": {"iss": nil}, "no subject": {"sub": nil},
		"of another client": {"iss": "00000000-0000-0000-0000-000000000001", "sub": "00000000-0000-0000-0000-000000000001"},
	} {
		out[name] = a.signed(nil, change, key)
	}
	return out
}

// badHeaders are assertions with good claims whose signature must not hold.
func (a assertionMaker) badHeaders(key, foreign *rsa.PrivateKey, cert []byte) map[string]string {
	good := a.signed(nil, nil, key)
	parts := strings.Split(good, ".")
	mac := func(secret []byte) func([]byte) []byte {
		return func(input []byte) []byte {
			h := hmac.New(sha256.New, secret)
			h.Write(input)
			return h.Sum(nil)
		}
	}
	unsigned := func([]byte) []byte { return nil }
	return map[string]string{
		"garbage": "garbage", "two dots": "..", "no signature": parts[0] + "." + parts[1] + ".", "four parts": good + ".x",
		"five parts": good + "." + parts[0] + "." + parts[1], "signature cut": parts[0] + "." + parts[1] + "." + parts[2][:100],
		"signature of another": parts[0] + "." + parts[1] + "." + encode(make([]byte, 256)),
		"payload altered":      parts[0] + "." + encode(marshal(a.t, claims{"iss": a.app, "sub": a.app, "aud": a.audience, "exp": 4102444800})) + "." + parts[2],
		"over 16 KiB":          good + strings.Repeat("A", 17<<10),
		"alg none":             a.with(claims{"alg": "none"}, nil, unsigned), "alg empty": a.with(claims{"alg": ""}, nil, unsigned),
		"HS256 by the certificate": a.with(claims{"alg": "HS256"}, nil, mac(cert)), "HS256 by the thumbprint": a.with(claims{"alg": "HS256"}, nil, mac([]byte(a.thumbprint))),
		"foreign key": a.signed(nil, nil, foreign), "unknown thumbprint": a.signed(claims{"x5t#S256": encode(make([]byte, 32))}, nil, key),
		"no thumbprint": a.signed(claims{"x5t#S256": nil}, nil, key), "thumbprint is a number": a.signed(claims{"x5t#S256": 1}, nil, key),
		"kid a path":      a.signed(claims{"x5t#S256": nil, "kid": "../../../etc/passwd"}, nil, foreign),
		"kid SQL":         a.signed(claims{"x5t#S256": nil, "kid": "' OR '1'='1"}, nil, foreign),
		"key in x5c":      a.signed(claims{"x5t#S256": nil, "x5c": []string{selfSigned(a.t, foreign)}}, nil, foreign),
		"key in jwk":      a.signed(claims{"x5t#S256": nil, "jwk": claims{"kty": "RSA", "n": encode(foreign.N.Bytes()), "e": "AQAB"}}, nil, foreign),
		"key in jku":      a.signed(claims{"x5t#S256": nil, "jku": "https://attacker.invalid/keys"}, nil, foreign),
		"critical header": a.signed(claims{"crit": []string{"x"}, "x": 1}, nil, key), "ES256": a.signed(claims{"alg": "ES256"}, nil, key),
		"PS256 with an RS256 signature": a.signed(claims{"alg": "PS256"}, nil, key),
		"JSON serialisation":            `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`,
		"nested":                        a.nested(good, key),
	}
}

// nested is a token inside a token.
func (a assertionMaker) nested(inner string, key *rsa.PrivateKey) string {
	head := claims{"alg": "RS256", "typ": "JWT", "cty": "JWT", "x5t#S256": a.thumbprint}
	return signed(a.t, head, encode([]byte(inner)), func(input []byte) []byte { return rs256(a.t, key, input) })
}
