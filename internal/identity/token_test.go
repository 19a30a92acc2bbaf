package identity

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"strongroom/internal/db"
)

func newIssuer(t testing.TB, s *Store, d *db.DB) *Issuer {
	t.Helper()
	i := NewIssuer(s, time.Hour, 30*24*time.Hour)
	if err := i.EnsureSigningKey(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	return i
}

var b64 = base64.RawURLEncoding

// makeJWT builds a token by the standard library alone.
func makeJWT(header, claims string, sign func(input []byte) []byte) string {
	input := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(claims))
	return input + "." + b64.EncodeToString(sign([]byte(input)))
}

func signRS256(key *rsa.PrivateKey) func([]byte) []byte {
	return func(input []byte) []byte {
		sum := sha256.Sum256(input)
		signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
		if err != nil {
			panic(err)
		}
		return signature
	}
}

func signPS256(key *rsa.PrivateKey) func([]byte) []byte {
	return func(input []byte) []byte {
		sum := sha256.Sum256(input)
		signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		if err != nil {
			panic(err)
		}
		return signature
	}
}

func signHS256(key []byte) func([]byte) []byte {
	return func(input []byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write(input)
		return h.Sum(nil)
	}
}

func encode(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// issue gets a token of a principal for the family's vaults.
func issue(t testing.TB, i *Issuer, d *db.DB, g Grant) (token string, expires time.Time) {
	t.Helper()
	view(t, d, func(tx *db.Tx) error {
		v, until, err := i.Issue(tx, g)
		token, expires = string(v.Reveal()), until
		return err
	})
	return token, expires
}

func verify(t testing.TB, i *Issuer, d *db.DB, token string) (c Caller, err error) {
	t.Helper()
	err = tryView(t, d, func(tx *db.Tx) error {
		begin := func() (*db.Tx, error) { return tx, nil }
		c, err = i.Verify(begin, token, Expectation{Family: family, Audiences: VaultAudience(family, "vault.example.org")})
		return err
	})
	return c, err
}

func wantReason(t testing.TB, name string, err error, want Reason) {
	t.Helper()
	e, ok := errors.AsType[*TokenError](err)
	if !ok || e.Reason != want {
		t.Errorf("%s: got error %v, want %s", name, err, want)
	}
}

var testPrincipal = Principal{
	ObjectID: "aaaaaaaa-0000-4000-8000-000000000001", AppID: "bbbbbbbb-0000-4000-8000-000000000002",
	Kind: ServicePrincipal, Enabled: true,
}

func testGrant() Grant {
	return Grant{
		Principal: testPrincipal, CredentialID: "cred", Method: BySecret, Audience: "https://vault.example.org", Family: family,
	}
}

// The published key set and the standard library are all that a verifier needs.
func TestIssueAgainstPublishedKeys(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		i := newIssuer(t, newStore(t), d)
		token, expires := issue(t, i, d, testGrant())
		var keys []PublicKey
		view(t, d, func(tx *db.Tx) (err error) { keys, err = i.Keys(tx); return err })
		if len(keys) != 1 {
			t.Fatalf("%d keys published, want 1", len(keys))
		}
		k := keys[0]
		n, _ := b64.DecodeString(k.Modulus)
		e, _ := b64.DecodeString(k.Exponent)
		public := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		der, _ := base64.StdEncoding.DecodeString(k.Certificates[0])
		certificate, err := x509.ParseCertificate(der)
		if err != nil || !public.Equal(certificate.PublicKey) {
			t.Errorf("x5c does not hold the key of n and e: %v", err)
		}
		if sum := sha1.Sum(der); k.ID != b64.EncodeToString(sum[:]) || k.Thumbprint != k.ID {
			t.Errorf("kid %q, x5t %q: want the thumbprint of x5c", k.ID, k.Thumbprint)
		}
		parts := strings.Split(token, ".")
		signature, _ := b64.DecodeString(parts[2])
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature); err != nil {
			t.Errorf("the signature does not verify: %v", err)
		}
		var header, claims map[string]any
		decodePart(t, parts[0], &header)
		decodePart(t, parts[1], &claims)
		if want := map[string]any{"alg": "RS256", "typ": "JWT", "kid": k.ID, "x5t": k.ID}; fmt.Sprint(header) != fmt.Sprint(want) {
			t.Errorf("header %v, want %v", header, want)
		}
		issuer := "https://login.example.org:8443/" + testTenant + "/"
		for name, want := range map[string]any{
			"aud": "https://vault.example.org", "iss": issuer, "idp": issuer, "tid": testTenant, "oid": testPrincipal.ObjectID,
			"sub": testPrincipal.ObjectID, "appid": testPrincipal.AppID, "appidacr": "1", "idtyp": "app", "ver": "1.0",
			"sr_cred": "cred", "exp": float64(expires.Unix()), "nbf": claims["iat"], "xms_mirid": nil, "azp": nil,
		} {
			if claims[name] != want {
				t.Errorf("claim %s = %v, want %v", name, claims[name], want)
			}
		}
		if claims["uti"] == "" || claims["exp"].(float64)-claims["nbf"].(float64) < 3600 {
			t.Errorf("claims %v: want a uti and an hour from nbf to exp", claims)
		}
	})
}

func decodePart(t testing.TB, part string, into any) {
	t.Helper()
	b, err := b64.DecodeString(part)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatalf("decode %q: %v", part, err)
	}
}

func TestIssueAndVerify(t *testing.T) {
	managed := testPrincipal
	managed.Kind, managed.ResourceID = ManagedIdentity, "/subscriptions/s/resourceGroups/RG/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web"
	each(t, func(t *testing.T, d *db.DB) {
		i := newIssuer(t, newStore(t), d)
		for _, tt := range []struct {
			name    string
			grant   Grant
			want    Caller
			claims  map[string]any
			noClaim string
		}{
			{"version 1", testGrant(), Caller{Kind: ServicePrincipal, Issuer: family.IssuerV1(testTenant), CredentialID: "cred"}, nil, "azp"},
			{
				"version 2",
				Grant{Principal: testPrincipal, CredentialID: "cred", Method: ByCertificate, Audience: "https://vault.example.org", Family: family, Version: 2},
				Caller{Kind: ServicePrincipal, Issuer: family.IssuerV2(testTenant), CredentialID: "cred"},
				map[string]any{"azpacr": "2", "ver": "2.0"},
				"appid",
			},
			{
				"managed",
				Grant{Principal: managed, Method: AsManaged, Audience: "https://vault.example.org", Family: family},
				Caller{Kind: ManagedIdentity, Issuer: family.IssuerV1(testTenant)},
				map[string]any{"appidacr": "2", "xms_mirid": strings.Replace(managed.ResourceID, "Groups", "groups", 1)},
				"sr_cred",
			},
		} {
			token, expires := issue(t, i, d, tt.grant)
			got, err := verify(t, i, d, token)
			tt.want.ObjectID, tt.want.AppID, tt.want.TenantID = testPrincipal.ObjectID, testPrincipal.AppID, testTenant
			tt.want.Audience, tt.want.Expires, tt.want.TokenID = "https://vault.example.org", expires.UTC(), got.TokenID
			if err != nil || got != tt.want || got.TokenID == "" {
				t.Errorf("%s: Verify = %+v, %v, want %+v", tt.name, got, err, tt.want)
			}
			var claims map[string]any
			decodePart(t, strings.Split(token, ".")[1], &claims)
			for name, want := range tt.claims {
				if claims[name] != want {
					t.Errorf("%s: claim %s = %v, want %v", tt.name, name, claims[name], want)
				}
			}
			if v, ok := claims[tt.noClaim]; ok {
				t.Errorf("%s: claim %s = %v, want none", tt.name, tt.noClaim, v)
			}
		}
	})
}

func TestVerifyTimes(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		i := newIssuer(t, newStore(t), d)
		token, _ := issue(t, i, d, testGrant())
		for _, tt := range []struct {
			ahead time.Duration
			want  Reason
		}{
			{0, ""}, {59 * time.Minute, ""}, {time.Hour, Expired}, {-9 * time.Minute, ""}, {-11 * time.Minute, NotYetValid},
		} {
			setClock(t, d, tt.ahead)
			if _, err := verify(t, i, d, token); tt.want == "" && err != nil {
				t.Errorf("clock %v ahead: %v", tt.ahead, err)
			} else if tt.want != "" {
				wantReason(t, tt.ahead.String(), err, tt.want)
			}
		}
	})
}

// Each token is built by the standard library, most of them with the server's own key, and
// differs from a good one in one thing.
func TestVerifyRefusals(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		i := newIssuer(t, newStore(t), d)
		var k *signingKey
		view(t, d, func(tx *db.Tx) error {
			set, err := i.keys(tx)
			k = set.signing(tx.Now)
			return err
		})
		header := `{"alg":"RS256","typ":"JWT","kid":"` + k.id + `"}`
		claims := func(change map[string]any) string {
			c := map[string]any{
				"aud": "https://vault.example.org", "iss": family.IssuerV1(testTenant), "tid": testTenant, "oid": testPrincipal.ObjectID,
				"exp": time.Now().Add(time.Hour).Unix(), "nbf": time.Now().Unix(),
			}
			for name, v := range change {
				if c[name] = v; v == nil {
					delete(c, name)
				}
			}
			return encode(t, c)
		}
		own, good := signRS256(k.private()), claims(nil)
		der, err := x509.MarshalPKIXPublicKey(k.private().Public())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verify(t, i, d, makeJWT(header, good, own)); err != nil {
			t.Fatalf("the token that all others differ from: %v", err)
		}
		with := func(name string, v any) string { return makeJWT(header, claims(map[string]any{name: v}), own) }
		jwk := `{"kty":"RSA","n":"` + b64.EncodeToString(testKey().N.Bytes()) + `","e":"AQAB"}`
		fine := makeJWT(header, good, own)
		for _, tt := range []struct {
			name, token string
			want        Reason
		}{
			{"empty", "", Malformed},
			{"words", "not a token", Malformed},
			{"two parts", strings.Join(strings.Split(fine, ".")[:2], "."), Malformed},
			{"four parts", fine + ".", Malformed},
			{"blank", fine + "\n", Malformed},
			{"oversize", makeJWT(header, claims(map[string]any{"x": strings.Repeat("a", maxToken)}), own), Malformed},
			{"alg none", makeJWT(`{"alg":"none","typ":"JWT","kid":"`+k.id+`"}`, good, func([]byte) []byte { return nil }), Malformed},
			{"alg None", makeJWT(`{"alg":"None","typ":"JWT","kid":"`+k.id+`"}`, good, func([]byte) []byte { return nil }), Malformed},
			{"no alg", makeJWT(`{"typ":"JWT","kid":"`+k.id+`"}`, good, own), Malformed},
			{"HS256 with the public key", makeJWT(`{"alg":"HS256","typ":"JWT","kid":"`+k.id+`"}`, good, signHS256(der)), Malformed},
			{"PS256 with our key", makeJWT(`{"alg":"PS256","typ":"JWT","kid":"`+k.id+`"}`, good, signPS256(k.private())), Malformed},
			{"RS256 with PSS", makeJWT(header, good, signPS256(k.private())), BadSignature},
			{"duplicate alg", makeJWT(`{"alg":"RS256","alg":"RS256","typ":"JWT","kid":"`+k.id+`"}`, good, own), Malformed},
			{"unknown crit", makeJWT(`{"alg":"RS256","typ":"JWT","crit":["x"],"x":1,"kid":"`+k.id+`"}`, good, own), BadSignature},
			{"other typ", makeJWT(`{"alg":"RS256","typ":"at+jwt","kid":"`+k.id+`"}`, good, own), Malformed},
			{"no kid", makeJWT(`{"alg":"RS256","typ":"JWT"}`, good, own), BadSignature},
			{"unknown kid", makeJWT(`{"alg":"RS256","typ":"JWT","kid":"x"}`, good, own), BadSignature},
			{"foreign key", makeJWT(header, good, signRS256(testKey())), BadSignature},
			{"foreign key in jwk", makeJWT(`{"alg":"RS256","typ":"JWT","kid":"`+k.id+`","jwk":`+jwk+`}`, good, signRS256(testKey())), BadSignature},
			{"changed claims", strings.Split(fine, ".")[0] + "." + b64.EncodeToString([]byte(claims(map[string]any{"oid": "x"}))) + "." + strings.Split(fine, ".")[2], BadSignature},
			{"duplicate claim", makeJWT(header, `{"oid":"x",`+good[1:], own), Malformed},
			{"no exp", with("exp", nil), Malformed},
			{"exp as text", with("exp", "1"), Malformed},
			{"exp as fraction", with("exp", 1.5), Malformed},
			{"no oid", with("oid", nil), Malformed},
			{"aud as list", with("aud", []string{"https://vault.example.org"}), Malformed},
			{"payload no object", makeJWT(header, `[]`, own), Malformed},
			{"expired", with("exp", time.Now().Add(-time.Second).Unix()), Expired},
			{"exp before all time", with("exp", -1), Expired},
			{"not yet valid", with("nbf", time.Now().Add(6*time.Minute).Unix()), NotYetValid},
			{"audience of management", with("aud", "https://management.example.org"), WrongAudience},
			{"audience of another family", with("aud", "https://vault.example.net"), WrongAudience},
			{"no aud", with("aud", nil), WrongAudience},
			{"issuer of another family", with("iss", other.IssuerV1(testTenant)), WrongIssuer},
			{"issuer without slash", with("iss", strings.TrimSuffix(family.IssuerV1(testTenant), "/")), WrongIssuer},
			{"no iss", with("iss", nil), WrongIssuer},
			{"other tenant", with("tid", "99999999-2222-4333-8444-555555555555"), WrongTenant},
			{"no tenant", with("tid", nil), WrongTenant},
		} {
			_, err := verify(t, i, d, tt.token)
			wantReason(t, tt.name, err, tt.want)
		}
		_, err = verify(t, i, d, with("aud", "a\nb\x1b"+strings.Repeat("ü", 900)))
		if e, ok := errors.AsType[*TokenError](err); !ok || len(e.Found) > maxFound || strings.ContainsAny(e.Found, "\n\x1bü") {
			t.Errorf("found text %v: want it printable and cut", err)
		}
	})
}

func FuzzVerifyForeign(f *testing.F) {
	f.Add(makeJWT(`{"alg":"RS256","typ":"JWT","kid":"x"}`, `{"exp":1}`, func(b []byte) []byte { return b }))
	f.Add("..")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		jws, ok := parseCompact(text, maxToken, tokenAlgorithms)
		if !ok {
			return
		}
		if _, err := jws.Verify(testKey().Public()); err == nil {
			t.Errorf("a token nobody signed verifies: %q", text)
		}
	})
}
