package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"strongroom/internal/db"
)

const tokenURL = "https://login.example.org:8443/" + testTenant + "/oauth2/v2.0/token"

var audiences = []string{tokenURL, family.IssuerV2(testTenant)}

// The forms in which clients name their certificate, and what must not pass.
func TestAssertions(t *testing.T) {
	key := testKey()
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	der := selfSigned(t, key.Public(), key, now.Add(-time.Hour), now.Add(30*24*time.Hour))
	foreignDER := selfSigned(t, foreign.Public(), foreign, now.Add(-time.Hour), now.Add(time.Hour))
	one, two := sha1.Sum(der), sha256.Sum256(der)
	std, url, padded := base64.StdEncoding, base64.RawURLEncoding, base64.URLEncoding
	x5c := `"x5c":["` + std.EncodeToString(der) + `"]`
	goHeader := `{"alg":"PS256","typ":"JWT","x5t#S256":"` + std.EncodeToString(two[:]) + `"}`
	sha1Header := `{"alg":"RS256","typ":"JWT","x5t":"` + url.EncodeToString(one[:]) + `"}`
	terraform := `{"alg":"RS256","kid":"` + padded.EncodeToString(one[:]) + `"}`

	each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		app, sp := newApp(t, s, d, "payroll")
		var c Credential
		update(t, d, func(tx *db.Tx) (err error) {
			c, err = s.AddCertificate(tx, app.AppID, "", der)
			return err
		})
		claims := func(change map[string]any) string {
			m := map[string]any{
				"aud": tokenURL, "iss": app.AppID, "sub": app.AppID, "jti": "x",
				"nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
			}
			for name, v := range change {
				if m[name] = v; v == nil {
					delete(m, name)
				}
			}
			return encode(t, m)
		}
		good, rs, ps := claims(nil), signRS256(key), signPS256(key)
		with := func(name string, v any) string { return makeJWT(goHeader, claims(map[string]any{name: v}), ps) }
		publicDER, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name, assertion string
			want            int // 0: signed in
		}{
			{"MSAL Go", makeJWT(goHeader, good, ps), 0},
			{"MSAL Python", makeJWT(`{"alg":"PS256","typ":"JWT","x5t#S256":"`+url.EncodeToString(two[:])+`"}`, good, ps), 0},
			{"az, MSAL Go for ADFS", makeJWT(sha1Header, good, rs), 0},
			{"Terraform", makeJWT(terraform, claims(map[string]any{"exp": now.Add(time.Hour).Unix()}), rs), 0},
			{"thumbprint in hex", makeJWT(`{"alg":"RS256","kid":"`+strings.ToUpper(hex.EncodeToString(one[:]))+`"}`, good, rs), 0},
			{"with a chain", makeJWT(`{"alg":"PS256",`+x5c+`,"x5t#S256":"`+url.EncodeToString(two[:])+`"}`, good, ps), 0},
			{"issuer as audience", with("aud", family.IssuerV2(testTenant)), 0},
			{"list of one audience", with("aud", []string{tokenURL}), 0},
			{"no nbf", with("nbf", nil), 0},
			{"clock four minutes off", with("nbf", now.Add(4*time.Minute).Unix()), 0},

			{"empty", "", CodeMalformedAssertion},
			{"words", "a b", CodeMalformedAssertion},
			{"oversize", makeJWT(goHeader, claims(map[string]any{"x": strings.Repeat("a", maxAssertion)}), ps), CodeMalformedAssertion},
			{"alg none", makeJWT(strings.Replace(goHeader, "PS256", "none", 1), good, func([]byte) []byte { return nil }), CodeMalformedAssertion},
			{"HS256 with the public key", makeJWT(strings.Replace(goHeader, "PS256", "HS256", 1), good, signHS256(publicDER)), CodeMalformedAssertion},
			{"ES256", makeJWT(strings.Replace(goHeader, "PS256", "ES256", 1), good, signES256(t)), CodeMalformedAssertion},
			{"duplicate header", makeJWT(`{"alg":"PS256","x5t":"a","x5t":"`+url.EncodeToString(one[:])+`"}`, good, ps), CodeMalformedAssertion},
			{"duplicate claim", makeJWT(goHeader, `{"aud":"x",`+good[1:], ps), CodeMalformedAssertion},
			{"MSAL Python", with("exp", float64(now.Add(10*time.Minute).UnixMilli())/1000), 0},
			{"for ever", with("exp", 1e300), 0},
			{"not before the end of time", with("nbf", 1e300), CodeAssertionTime},
			{"no exp", with("exp", nil), CodeMalformedAssertion},
			{"names no key", makeJWT(`{"alg":"PS256"}`, good, ps), CodeAssertionKey},
			{"only a chain", makeJWT(`{"alg":"PS256",`+x5c+`}`, good, ps), CodeAssertionKey},
			{"x5t no string", makeJWT(`{"alg":"PS256","x5t":1}`, good, ps), CodeAssertionKey},
			{"foreign certificate", makeJWT(`{"alg":"RS256","x5c":["`+std.EncodeToString(foreignDER)+`"],"x5t":"`+url.EncodeToString(one[:])+`"}`, good, signRS256(foreign)), CodeAssertionKey},
			{"foreign key", makeJWT(goHeader, good, signPS256(foreign)), CodeAssertionKey},
			{"PS256 signed as RS256", makeJWT(goHeader, good, rs), CodeAssertionKey},
			{"wrong audience", with("aud", "https://login.example.org/"), CodeAssertionAudience},
			{"audience with a slash", with("aud", tokenURL+"/"), CodeAssertionAudience},
			{"two audiences", with("aud", []string{tokenURL, "https://x"}), CodeAssertionAudience},
			{"no audience", with("aud", nil), CodeAssertionAudience},
			{"other subject", with("sub", "x"), CodeSubjectNotIssuer},
			{"other client", makeJWT(goHeader, claims(map[string]any{"iss": "x", "sub": "x"}), ps), CodeAssertionClient},
			{"expired", with("exp", now.Add(-6*time.Minute).Unix()), CodeAssertionTime},
			{"not yet valid", with("nbf", now.Add(6*time.Minute).Unix()), CodeAssertionTime},
		} {
			view(t, d, func(tx *db.Tx) error {
				p, id, err := s.CheckAssertion(tx, app.AppID, tt.assertion, audiences)
				if tt.want != 0 {
					t.Run(tt.name, func(t *testing.T) { wantSignIn(t, err, tt.want) })
				} else if err != nil || p.ObjectID != sp.ObjectID || id != c.ID {
					t.Errorf("%s: CheckAssertion = %v, %q, %v, want %s by %s", tt.name, p, id, err, sp.ObjectID, c.ID)
				}
				return nil
			})
		}
		again := func(name string, want int) {
			t.Helper()
			view(t, d, func(tx *db.Tx) error {
				fresh := claims(map[string]any{"exp": tx.Now.Add(time.Minute).Unix()})
				_, _, err := s.CheckAssertion(tx, app.AppID, makeJWT(goHeader, fresh, ps), audiences)
				t.Run(name, func(t *testing.T) { wantSignIn(t, err, want) })
				return nil
			})
		}
		setClock(t, d, 31*24*time.Hour)
		again("certificate expired since", CodeAssertionKey)
		setClock(t, d, 0)
		update(t, d, func(tx *db.Tx) error { return s.SetEnabled(tx, sp.ObjectID, false) })
		again("disabled", CodeApplicationDisabled)
		update(t, d, func(tx *db.Tx) error { return s.RemoveCredential(tx, app.AppID, c.ID) })
		again("removed", CodeAssertionKey)
	})
}

func signES256(t testing.TB) func([]byte) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return func(input []byte) []byte {
		sum := sha256.Sum256(input)
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
}

func FuzzAssertionClaims(f *testing.F) {
	f.Add([]byte(`{"aud":["x"],"iss":"a","sub":"a","exp":1}`))
	f.Add([]byte(`{"aud":null,"exp":9223372036854775807}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if err := checkAssertion(payload, "a", nil, time.Now()); err == nil {
			t.Errorf("claims %q pass without an audience", payload)
		}
	})
}

func FuzzThumbprint(f *testing.F) {
	f.Add("not")
	f.Add(strings.Repeat("a", 43) + "=")
	f.Fuzz(func(t *testing.T, s string) {
		if got := thumbprint(s); got != "" && len(got) != 40 && len(got) != 64 {
			t.Errorf("thumbprint(%q) = %q, want 40 or 64 characters", s, got)
		}
	})
}

// FuzzParseAssertion reads a client assertion up to the question which certificate it names. Nobody
// has one here, so that none passes.
func FuzzParseAssertion(f *testing.F) {
	f.Add(makeJWT(`{"alg":"PS256","typ":"JWT","x5t#S256":"x"}`, `{"exp":1}`, func(b []byte) []byte { return b }))
	f.Add(makeJWT(`{"alg":"RS256","x5t":1,"crit":["x"],"x":{}}`, `[]`, func(b []byte) []byte { return nil }))
	f.Add("..")
	f.Add("a.b.c.d.e")
	f.Fuzz(func(t *testing.T, text string) {
		jws, ok := parseCompact(text, maxAssertion, assertionAlgorithms)
		if !ok {
			return
		}
		if strings.Count(text, ".") != 2 || len(text) > maxAssertion {
			t.Errorf("%q passes as a compact token", text)
		}
		if c, reason := named(nil, jws.Signatures[0].Protected); reason == "" {
			t.Errorf("%q names the credential %v of nobody", text, c.ID)
		}
	})
}

// FuzzParseCertificate reads what is registered as a certificate.
func FuzzParseCertificate(f *testing.F) {
	f.Add([]byte{})
	key := testKey()
	f.Add(selfSigned(f, key.Public(), key, time.Unix(1, 0), time.Unix(1<<33, 0)))
	f.Fuzz(func(t *testing.T, der []byte) {
		cert, err := parseCertificate(der)
		if (err == nil) != (cert != nil) {
			t.Fatalf("parseCertificate(%x) = %v, %v", der, cert, err)
		}
		if err == nil {
			certificateName(cert)
		}
	})
}
