//go:build unix

package hostile

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// isUnauthorized wants the one answer of the protocol, with a challenge by which a client finds
// its way.
func (d *deployment) isUnauthorized(t *testing.T, a answer) {
	t.Helper()
	challenge := fmt.Sprintf(`Bearer authorization="https://%s/%s", resource="https://vault.localhost"`, d.about.LoginHost, d.about.Tenant)
	got := a.header.Values("WWW-Authenticate")
	if a.status != 401 || a.code() != "Unauthorized" || len(got) != 1 || got[0] != challenge {
		t.Errorf("got %d, challenge %q, body %s; want 401 Unauthorized, challenge %q", a.status, got, a.body, challenge)
	}
}

// forgeries are the headers of requests that must not be let in.
func forgeries(t *testing.T, d *deployment, foreign string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for name, token := range badTokens(t, d, foreign) {
		out[name] = []string{"Authorization: Bearer " + token}
	}
	for name, headers := range map[string]string{
		"none":                     "Accept: */*",
		"empty":                    "Authorization: ",
		"scheme alone":             "Authorization: Bearer",
		"scheme and blank":         "Authorization: Bearer ",
		"no scheme":                "Authorization: " + d.token,
		"basic":                    "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("dev:"+d.token)),
		"basic with a token":       "Authorization: Basic " + d.token,
		"another scheme":           "Authorization: Bearerx " + d.token,
		"tab behind the scheme":    "Authorization: Bearer\t" + d.token,
		"comma behind the scheme":  "Authorization: Bearer, " + d.token,
		"quoted":                   `Authorization: Bearer "` + d.token + `"`,
		"twice":                    "Authorization: Bearer " + d.token + "\r\nAuthorization: Bearer " + d.token,
		"good and none":            "Authorization: Bearer " + d.token + "\r\nAuthorization: Basic eDp4",
		"in one line twice":        "Authorization: Bearer " + d.token + ", Bearer " + d.token,
		"in another header":        "X-Authorization: Bearer " + d.token + "\r\nProxy-Authorization: Bearer " + d.token,
		"in a cookie":              "Cookie: Authorization=Bearer " + d.token + "; access_token=" + d.token,
		"with an underscore":       "Authorization_: Bearer " + d.token,
		"managed identity headers": "Metadata: true\r\nX-IDENTITY-HEADER: x\r\nX-MS-CLIENT-PRINCIPAL-ID: " + d.about.Tenant,
		"client certificate":       "X-ARR-ClientCert: x\r\nX-Client-Cert: x\r\nX-Forwarded-Client-Cert: By=x;Subject=\"CN=dev\"",
	} {
		out[name] = strings.Split(headers, "\r\n")
	}
	return out
}

// badTokens are what a forger puts behind "Bearer".
func badTokens(t *testing.T, d *deployment, foreign string) map[string]string {
	t.Helper()
	parts := strings.Split(d.token, ".")
	head, payload, signature := parts[0], parts[1], parts[2]
	out := map[string]string{
		"garbage":                   "garbage",
		"three dots":                "...",
		"two dots":                  "..",
		"four parts":                d.token + ".x",
		"five parts":                d.token + "." + head + "." + payload,
		"no signature":              head + "." + payload + ".",
		"signature left out":        head + "." + payload,
		"zero signature":            head + "." + payload + "." + encode(make([]byte, 256)),
		"short signature":           head + "." + payload + "." + signature[:100],
		"payload of other rights":   head + "." + changed(t, payload, claims{"oid": "00000000-0000-0000-0000-000000000000"}) + "." + signature,
		"payload of a later end":    head + "." + changed(t, payload, claims{"exp": 4102444800}) + "." + signature,
		"payload is no object":      head + "." + encode([]byte("[]")) + "." + signature,
		"header is no JSON":         encode([]byte("{")) + "." + payload + "." + signature,
		"trailing word":             d.token + " x",
		"trailing dot":              d.token + ".",
		"trailing letters":          d.token + "AAAA",
		"trailing comment":          d.token + "#x",
		"padding":                   d.token + "==",
		"percent escapes":           strings.ReplaceAll(d.token, ".", "%2E"),
		"over 8 KiB":                d.token + strings.Repeat("A", 9<<10),
		"JSON serialisation":        fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, head, payload, signature),
		"another deployment":        foreign,
		"audience management":       d.newToken("https://management.localhost"),
		"audience management slash": d.newToken("https://management.localhost/"),
		"audience Azure's":          d.newToken("https://management.azure.com"),
		"audience graph":            d.newToken("https://graph.localhost"),
		"audience of another port":  d.newToken("https://vault.localhost:1"),
		"another family's":          d.newToken("https://vault.strongroom.internal"),
	}
	maps.Copy(out, forged(t, d, payload))
	maps.Copy(out, confused(t, d, payload))
	return out
}

// claims are members of a token's header or payload.
type claims map[string]any

// forged are tokens with the true payload, signed by a key of the forger's own.
func forged(t *testing.T, d *deployment, payload string) map[string]string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	kid := d.keyID()
	public := claims{"kty": "RSA", "kid": kid, "n": encode(key.N.Bytes()), "e": "AQAB"}
	out := map[string]string{}
	for name, header := range map[string]claims{
		"foreign key, our kid":      {"alg": "RS256", "typ": "JWT", "kid": kid, "x5t": kid},
		"foreign key, unknown kid":  {"alg": "RS256", "typ": "JWT", "kid": "unknown"},
		"foreign key, no kid":       {"alg": "RS256", "typ": "JWT"},
		"foreign key, empty kid":    {"alg": "RS256", "typ": "JWT", "kid": ""},
		"foreign key, kid a number": {"alg": "RS256", "typ": "JWT", "kid": 1},
		"foreign key, kid a path":   {"alg": "RS256", "typ": "JWT", "kid": "../../../dev/null"},
		"foreign key, kid SQL":      {"alg": "RS256", "typ": "JWT", "kid": "' OR '1'='1"},
		"key in jwk":                {"alg": "RS256", "typ": "JWT", "jwk": public},
		"key in jwk, our kid":       {"alg": "RS256", "typ": "JWT", "kid": kid, "jwk": public},
		"key in jku":                {"alg": "RS256", "typ": "JWT", "kid": kid, "jku": "https://attacker.invalid/keys"},
		"key in x5u":                {"alg": "RS256", "typ": "JWT", "kid": kid, "x5u": "https://attacker.invalid/x.pem"},
		"key in x5c":                {"alg": "RS256", "typ": "JWT", "kid": kid, "x5c": []string{selfSigned(t, key)}},
		"critical header":           {"alg": "RS256", "typ": "JWT", "kid": kid, "crit": []string{"exp"}, "exp": 4102444800},
		"critical b64":              {"alg": "RS256", "typ": "JWT", "kid": kid, "crit": []string{"b64"}, "b64": false},
		"compressed":                {"alg": "RS256", "typ": "JWT", "kid": kid, "zip": "DEF"},
		"unknown algorithm":         {"alg": "RS257", "typ": "JWT", "kid": kid},
		"algorithm a list":          {"alg": []string{"RS256", "none"}, "typ": "JWT", "kid": kid},
		"no algorithm":              {"typ": "JWT", "kid": kid},
		"no type":                   {"alg": "RS256", "kid": kid},
	} {
		out[name] = signed(t, header, payload, func(input []byte) []byte { return rs256(t, key, input) })
	}
	return out
}

// confused are tokens whose algorithm makes a public key a shared secret, or needs no key.
func confused(t *testing.T, d *deployment, payload string) map[string]string {
	t.Helper()
	kid, key := d.keyID(), d.publicKey()
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for name, secret := range map[string][]byte{
		"SPKI in PEM":            pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}),
		"SPKI in PEM, no end":    []byte(strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})))),
		"PKCS #1 in PEM":         pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(key)}),
		"SPKI":                   spki,
		"PKCS #1":                x509.MarshalPKCS1PublicKey(key),
		"modulus":                key.N.Bytes(),
		"modulus in base64url":   []byte(encode(key.N.Bytes())),
		"nothing":                {},
		"the kid":                []byte(kid),
		"the kid's bytes":        decodeText(t, kid),
		"the tenant's id":        []byte(d.about.Tenant),
		"the word secret itself": []byte("secret"),
	} {
		out["HS256 by "+name] = signed(t, claims{"alg": "HS256", "typ": "JWT", "kid": kid}, payload, func(input []byte) []byte {
			mac := hmac.New(sha256.New, secret)
			mac.Write(input)
			return mac.Sum(nil)
		})
	}
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "", "RS256 ", "rs256", "PS256", "ES256", "RSA1_5", "dir"} {
		out["alg "+alg+", no signature"] = signed(t, claims{"alg": alg, "typ": "JWT", "kid": kid}, payload, func([]byte) []byte { return nil })
	}
	return out
}

func signed(t *testing.T, header claims, payload string, sign func([]byte) []byte) string {
	t.Helper()
	input := encode(marshal(t, header)) + "." + payload
	return input + "." + encode(sign([]byte(input)))
}

func rs256(t *testing.T, key *rsa.PrivateKey, input []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(input)
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// selfSigned is a certificate of the forger's key, in the form of x5c.
func selfSigned(t *testing.T, key *rsa.PrivateKey) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// changed is a payload with other claims.
func changed(t *testing.T, payload string, with claims) string {
	t.Helper()
	all := claims{}
	if err := json.Unmarshal(decodeText(t, payload), &all); err != nil {
		t.Fatal(err)
	}
	maps.Copy(all, with)
	return encode(marshal(t, all))
}

func marshal(t *testing.T, c claims) []byte {
	t.Helper()
	b, err := json.Marshal(c, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decodeText(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A publicJWK is a member of the published key set.
type publicJWK struct{ Kid, N string }

// signingKey is the published key that signed the caller's token.
func (d *deployment) signingKey() publicJWK {
	d.t.Helper()
	var header publicJWK
	var set struct{ Keys []publicJWK }
	d.MustDecode(decodeText(d.t, strings.Split(d.token, ".")[0]), &header)
	d.MustDecode(d.Must("GET", "login.localhost/"+d.about.Tenant+"/discovery/v2.0/keys", ""), &set)
	for _, k := range set.Keys {
		if k.Kid == header.Kid {
			return k
		}
	}
	d.t.Fatalf("key %q is not among the published ones", header.Kid)
	return publicJWK{}
}

func (d *deployment) keyID() string { return d.signingKey().Kid }

func (d *deployment) publicKey() *rsa.PublicKey {
	d.t.Helper()
	return &rsa.PublicKey{N: new(big.Int).SetBytes(decodeText(d.t, d.signingKey().N)), E: 65537}
}

// TestGoodTokens is the other side of TestForgedTokens: forms that clients send and that hold.
func TestGoodTokens(t *testing.T) {
	d := start(t)
	for _, authorization := range []string{
		"Authorization: Bearer " + d.token,
		"authorization: bearer " + d.token,
		"AUTHORIZATION: BEARER " + d.token,
		"Authorization: Bearer  " + d.token,
		"Authorization:Bearer " + d.token + "  ",
		"Authorization: Bearer " + d.newToken("https://vault.localhost/"),
		"Authorization: Bearer " + d.newToken("https://"+d.about.VaultSuffix),
	} {
		if a := d.ask(request("GET /secrets/kept?api-version=7.6", authorization)); a.status != 200 {
			t.Errorf("%.40s: got %d %s, want 200", authorization, a.status, a.body)
		}
	}
}
