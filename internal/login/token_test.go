package login

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/internal/db"
	"strongroom/internal/identity"
)

const (
	tokenV2   = "/" + testTenant + "/oauth2/v2.0/token"
	tokenV1   = "/" + testTenant + "/oauth2/token"
	tokenADFS = "/adfs/oauth2/token"
	loginHost = "login.localhost:8443"
	vault     = "https://vault.localhost:8443"
)

// verified checks a token with the published keys and nothing of ours, and returns its claims.
func (b *bench) verified(token string) map[string]any {
	b.t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		b.t.Fatalf("token has %d parts, want 3", len(parts))
	}
	var header struct{ Alg, Typ, Kid, X5t string }
	b.decodePart(parts[0], &header)
	if header.Alg != "RS256" || header.Typ != "JWT" || header.Kid == "" || header.X5t != header.Kid {
		b.t.Errorf("token header = %+v, want RS256, JWT, and x5t equal to kid", header)
	}
	key := b.publishedKey(header.Kid)
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		b.t.Fatal(err)
	}
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature); err != nil {
		b.t.Fatalf("signature: %v", err)
	}
	var claims map[string]any
	b.decodePart(parts[1], &claims)
	return claims
}

func (b *bench) decodePart(part string, to any) {
	b.t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err == nil {
		err = json.Unmarshal(raw, to, json.MatchCaseInsensitiveNames(true))
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) publishedKey(kid string) *rsa.PublicKey {
	b.t.Helper()
	got := b.do(b.login, ask{method: "GET", host: loginHost, path: "/" + testTenant + "/discovery/v2.0/keys"})
	for _, k := range got.body["keys"].([]any) {
		key := k.(map[string]any)
		if key["kid"] != kid {
			continue
		}
		if key["issuer"] != "https://login.localhost:8443/"+testTenant+"/v2.0" || key["kty"] != "RSA" || key["use"] != "sig" {
			b.t.Errorf("published key = %v, want issuer, kty RSA, use sig", key)
		}
		n, err1 := base64.RawURLEncoding.DecodeString(key["n"].(string))
		e, err2 := base64.RawURLEncoding.DecodeString(key["e"].(string))
		if err1 != nil || err2 != nil {
			b.t.Fatal(err1, err2)
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	}
	b.t.Fatalf("no published key %q", kid)
	return nil
}

func TestSignInBySecret(t *testing.T) {
	b := newBench(t)
	extras := []string{
		"scope", vault + "/.default openid offline_access profile", "client_info", "1", "x-client-sku", "MSAL",
		"claims", `{"access_token":{"xms_cc":{"values":["CP1"]}}}`,
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(b.app.AppID+":"+url.QueryEscape(b.secret)))
	for _, tt := range []struct {
		host, path string
		form       url.Values
		basic      string
		audience   string
		issuer     string
		operation  string
	}{
		{path: tokenV2, form: b.secretForm()},
		{path: tokenV2 + "/", form: b.secretForm(extras...)},
		{path: "//" + tokenV2, form: b.secretForm("client_id", strings.ToUpper(b.app.AppID))},
		{path: tokenV2, form: b.secretForm("client_secret", "-", "client_id", "-"), basic: basic},
		{path: tokenV2, form: b.secretForm("client_secret", "-"), basic: basic},
		{path: tokenV2, form: b.secretForm("scope", vault+"//.default"), audience: vault + "/"},
		{path: tokenV2, form: b.secretForm("scope", "https://management.core.windows.net//.default"), audience: "https://management.core.windows.net/"},
		{path: tokenV2, form: b.secretForm("scope", "https://graph.microsoft.com/.default"), audience: "https://graph.microsoft.com"},
		{
			path: tokenV2, form: b.secretForm("scope", "https://vault.strongroom.internal/.default"), audience: "https://vault.strongroom.internal",
			issuer: "https://login.strongroom.internal/" + testTenant + "/",
		},
		{host: "x.login.localhost:8443", path: tokenV2 + "/", form: b.secretForm()},
		{path: tokenADFS, form: b.secretForm(), operation: "TokenIssueADFS"},
		{path: tokenADFS, form: b.secretForm("scope", "openid", "resource", vault), operation: "TokenIssueADFS"},
		{path: "/adfs/oauth2/v2.0/token", form: b.secretForm()},
	} {
		host, audience, issuer, operation := or(tt.host, loginHost), or(tt.audience, vault), or(tt.issuer, "https://login.localhost:8443/"+testTenant+"/"), or(tt.operation, "TokenIssue")
		got := b.post(host, tt.path, tt.form, map[string]string{"Authorization": tt.basic})
		if got.status != http.StatusOK {
			t.Errorf("POST %s %s = %d %s, want 200", host, tt.path, got.status, got.raw)
			continue
		}
		if got.text("token_type") != "Bearer" || got.body["expires_in"] != 3600.0 && got.body["expires_in"] != 3599.0 || got.body["ext_expires_in"] != got.body["expires_in"] || len(got.body) != 4 {
			t.Errorf("POST %s: answer %s, want Bearer, two lifetimes as numbers and a token", tt.path, got.body)
		}
		if got := got.header.Get("Cache-Control"); got != "no-store, no-cache" {
			t.Errorf("POST %s: Cache-Control = %q, want no-store, no-cache", tt.path, got)
		}
		claims := b.verified(got.text("access_token"))
		for name, want := range map[string]any{
			"aud": audience, "iss": issuer, "appid": b.app.AppID, "appidacr": "1", "oid": b.principal.ObjectID, "sub": b.principal.ObjectID,
			"tid": testTenant, "ver": "1.0", "idtyp": "app", "sr_cred": b.secretID,
		} {
			if claims[name] != want {
				t.Errorf("POST %s: claim %s = %v, want %v", tt.path, name, claims[name], want)
			}
		}
		e := b.lastEntry()
		if e.Operation != operation || e.Status != 200 || e.ObjectID != b.principal.ObjectID || e.CredentialID != b.secretID || e.TokenID != claims["uti"] {
			t.Errorf("POST %s: audit entry %+v, want %s by %s with the token's id", tt.path, e, operation, b.principal.ObjectID)
		}
	}
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func TestSignInV1(t *testing.T) {
	b := newBench(t)
	got := b.post(loginHost, tokenV1, b.secretForm("scope", "-", "resource", "https://management.azure.com/"), nil)
	if got.status != http.StatusOK {
		t.Fatalf("POST %s = %d %s, want 200", tokenV1, got.status, got.raw)
	}
	for _, name := range []string{"token_type", "expires_in", "ext_expires_in", "expires_on", "not_before", "resource", "access_token"} {
		if got.text(name) == "" {
			t.Errorf("member %s = %v, want a string", name, got.body[name])
		}
	}
	claims := b.verified(got.text("access_token"))
	if want := fmt.Sprintf("%.0f", claims["exp"]); got.text("expires_on") != want {
		t.Errorf("expires_on = %s, want %s", got.text("expires_on"), want)
	}
	if claims["aud"] != "https://management.azure.com/" || got.text("resource") != claims["aud"] {
		t.Errorf("aud %v, resource %q, want both as asked for", claims["aud"], got.text("resource"))
	}
	if e := b.lastEntry(); e.Operation != "TokenIssueV1" {
		t.Errorf("audit entry of %s, want TokenIssueV1", e.Operation)
	}
}

// An assertion is built with the standard library, as foreign clients build theirs.
type testAssertion struct {
	header map[string]any
	claims map[string]any
	key    *rsa.PrivateKey
}

func (a testAssertion) sign(t *testing.T) string {
	t.Helper()
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	text := part(a.header) + "." + part(a.claims)
	sum := sha256.Sum256([]byte(text))
	var signature []byte
	var err error
	if a.header["alg"] == "PS256" {
		signature, err = rsa.SignPSS(rand.Reader, a.key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	} else {
		signature, err = rsa.SignPKCS1v15(rand.Reader, a.key, crypto.SHA256, sum[:])
	}
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func (b *bench) assertion(key *rsa.PrivateKey, der []byte) testAssertion {
	print := sha256.Sum256(der)
	return testAssertion{
		header: map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": base64.StdEncoding.EncodeToString(print[:])},
		claims: map[string]any{
			"aud": "https://" + loginHost + tokenV2, "iss": b.app.AppID, "sub": b.app.AppID, "jti": otherGUID,
			"nbf": time.Now().Unix(), "exp": time.Now().Add(10 * time.Minute).Unix(),
		},
		key: key,
	}
}

func (b *bench) assertionForm(a testAssertion) url.Values {
	return b.secretForm("client_secret", "-", "client_assertion", a.sign(b.t), "client_assertion_type", assertionType)
}

func TestSignInByCertificate(t *testing.T) {
	b := newBench(t)
	key, der := b.addCertificate()
	sum1 := sha1.Sum(der)
	for name, tt := range map[string]struct {
		host, path string
		edit       func(a *testAssertion)
	}{
		"PS256, x5t#S256": {path: tokenV2},
		"RS256, x5t": {path: tokenV2, edit: func(a *testAssertion) {
			a.header = map[string]any{"alg": "RS256", "typ": "JWT", "x5t": base64.RawURLEncoding.EncodeToString(sum1[:])}
		}},
		"RS256, kid, chain": {path: tokenV2, edit: func(a *testAssertion) {
			a.header = map[string]any{"alg": "RS256", "kid": base64.URLEncoding.EncodeToString(sum1[:]), "x5c": []string{base64.StdEncoding.EncodeToString(der)}}
		}},
		"for the adfs endpoint": {path: tokenADFS, edit: func(a *testAssertion) { a.claims["aud"] = "https://" + loginHost + tokenADFS }},
		"for the issuer":        {path: tokenV2, edit: func(a *testAssertion) { a.claims["aud"] = "https://" + loginHost + "/" + testTenant + "/v2.0" }},
		"a forwarded port": {host: "login.localhost:9443", path: tokenV2, edit: func(a *testAssertion) {
			a.claims["aud"] = "https://login.localhost:9443" + tokenV2
		}},
		"the regional form, by the family's name": {host: "x.login.localhost:8443", path: tokenV2},
		"the regional form, by its own": {host: "x.login.localhost:8443", path: tokenV2, edit: func(a *testAssertion) {
			a.claims["aud"] = "https://x.login.localhost:8443" + tokenV2
		}},
	} {
		a := b.assertion(key, der)
		if tt.edit != nil {
			tt.edit(&a)
		}
		got := b.post(or(tt.host, loginHost), tt.path, b.assertionForm(a), nil)
		if got.status != http.StatusOK {
			t.Errorf("%s: %d %s, want 200", name, got.status, got.raw)
			continue
		}
		if claims := b.verified(got.text("access_token")); claims["appidacr"] != "2" || claims["oid"] != b.principal.ObjectID {
			t.Errorf("%s: claims %v, want appidacr 2 and oid %s", name, claims, b.principal.ObjectID)
		}
	}
}

func TestSignInRefusals(t *testing.T) {
	b := newBench(t)
	key, der := b.addCertificate()
	_, foreign := testCertificate(t)
	asserted := func(edit func(a *testAssertion)) url.Values {
		a := b.assertion(key, der)
		edit(&a)
		return b.assertionForm(a)
	}
	twice := b.secretForm()
	twice.Add("scope", vault+"/.default")
	for name, tt := range map[string]struct {
		path   string
		form   url.Values
		basic  string
		number int
		status int
		word   string
	}{
		"unknown tenant":           {path: "/" + otherGUID + "/oauth2/v2.0/token", form: b.secretForm(), number: 90002, status: 400, word: "invalid_request"},
		"unknown tenant, v1":       {path: "/contoso.example/oauth2/token", form: b.secretForm(), number: 90002, status: 400, word: "invalid_request"},
		"no tenant":                {path: "/common/oauth2/v2.0/token", form: b.secretForm(), number: 50059, status: 400, word: "invalid_request"},
		"no body":                  {form: url.Values{}, number: 900144, status: 400, word: "invalid_request"},
		"no grant type":            {form: b.secretForm("grant_type", "-"), number: 900144, status: 400, word: "invalid_request"},
		"no client id":             {form: b.secretForm("client_id", "-"), number: 900144, status: 400, word: "invalid_request"},
		"no scope":                 {form: b.secretForm("scope", "-"), number: 900144, status: 400, word: "invalid_request"},
		"no resource, v1":          {path: tokenV1, form: b.secretForm(), number: 900144, status: 400, word: "invalid_request"},
		"no assertion type":        {form: b.secretForm("client_secret", "-", "client_assertion", "x"), number: 900144, status: 400, word: "invalid_request"},
		"wrong assertion type":     {form: b.secretForm("client_secret", "-", "client_assertion", "x", "client_assertion_type", "y"), number: 9002313, status: 400, word: "invalid_request"},
		"no credential":            {form: b.secretForm("client_secret", "-"), number: 7000218, status: 401, word: "invalid_client"},
		"two credentials":          {form: b.secretForm("client_assertion", "x"), number: 90023, status: 400, word: "invalid_request"},
		"secret in form and Basic": {form: b.secretForm(), basic: "Basic " + base64.StdEncoding.EncodeToString([]byte(b.app.AppID+":x")), number: 90023, status: 400, word: "invalid_request"},
		"malformed Basic":          {form: b.secretForm("client_secret", "-"), basic: "Basic %%%", number: 9002313, status: 400, word: "invalid_request"},
		"wrong secret by Basic":    {form: b.secretForm("client_secret", "-"), basic: "Basic " + base64.StdEncoding.EncodeToString([]byte(b.app.AppID+":x")), number: 7000215, status: 401, word: "invalid_client"},
		"a field twice":            {form: twice, number: 90023, status: 400, word: "invalid_request"},
		"another grant":            {form: b.secretForm("grant_type", "password"), number: 70003, status: 400, word: "unsupported_grant_type"},
		"two resources":            {form: b.secretForm("scope", vault+"/.default https://graph.microsoft.com/.default"), number: 70011, status: 400, word: "invalid_scope"},
		"only OpenID scopes":       {form: b.secretForm("scope", "openid profile"), number: 70011, status: 400, word: "invalid_scope"},
		"no .default":              {form: b.secretForm("scope", vault+"/user_impersonation"), number: 1002012, status: 400, word: "invalid_scope"},
		"unknown resource":         {form: b.secretForm("scope", "https://storage.azure.com/.default"), number: 500011, status: 400, word: "invalid_resource"},
		"unknown resource, v1":     {path: tokenV1, form: b.secretForm("resource", "https://storage.azure.com/"), number: 500011, status: 400, word: "invalid_resource"},
		"unknown application":      {form: b.secretForm("client_id", otherGUID), number: 700016, status: 400, word: "unauthorized_client"},
		"application's object id":  {form: b.secretForm("client_id", b.app.ID), number: 700016, status: 400, word: "unauthorized_client"},
		"wrong secret":             {form: b.secretForm("client_secret", "x"), number: 7000215, status: 401, word: "invalid_client"},
		"no JWT":                   {form: b.secretForm("client_secret", "-", "client_assertion", "x", "client_assertion_type", assertionType), number: 50027, status: 401, word: "invalid_client"},
		"other audience":           {form: asserted(func(a *testAssertion) { a.claims["aud"] = "https://login.microsoftonline.com" + tokenV2 }), number: 700023, status: 401, word: "invalid_client"},
		"expired assertion":        {form: asserted(func(a *testAssertion) { a.claims["exp"] = time.Now().Add(-time.Hour).Unix() }), number: 700024, status: 401, word: "invalid_client"},
		"subject is not issuer":    {form: asserted(func(a *testAssertion) { a.claims["sub"] = otherGUID }), number: 50048, status: 400, word: "invalid_client"},
		"another client":           {form: asserted(func(a *testAssertion) { a.claims["sub"], a.claims["iss"] = otherGUID, otherGUID }), number: 700021, status: 401, word: "invalid_client"},
		"unregistered certificate": {form: asserted(func(a *testAssertion) { *a = b.assertion(key, foreign) }), number: 700027, status: 401, word: "invalid_client"},
		"signature of another":     {form: asserted(func(a *testAssertion) { a.header["alg"] = "RS256"; a.key = otherKey(t) }), number: 700027, status: 401, word: "invalid_client"},
	} {
		got := b.post(loginHost, or(tt.path, tokenV2), tt.form, map[string]string{"Authorization": tt.basic, "client-request-id": otherGUID})
		checkRefusal(t, name, got, tt.number, tt.status, tt.word)
		if strings.Contains(string(got.raw), b.secret) {
			t.Errorf("%s: the answer holds the secret", name)
		}
		if challenged := got.header.Get("WWW-Authenticate") != ""; challenged != (tt.basic != "" && tt.status == 401) {
			t.Errorf("%s: WWW-Authenticate is %q", name, got.header.Get("WWW-Authenticate"))
		}
	}
	if n := len(b.entries()); n != 0 {
		t.Errorf("refused strangers left %d audit entries, want none", n)
	}
}

func otherKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// checkRefusal looks at every member of the error.
func checkRefusal(t *testing.T, name string, got answer, number, status int, word string) {
	t.Helper()
	codes, _ := got.body["error_codes"].([]any)
	if got.status != status || got.text("error") != word || !slices.Equal(codes, []any{float64(number)}) {
		t.Errorf("%s: %d %s, want %d %s %d", name, got.status, got.raw, status, word, number)
		return
	}
	at, trace := got.text("timestamp"), got.text("trace_id")
	if _, err := time.Parse("2006-01-02 15:04:05Z", at); err != nil {
		t.Errorf("%s: timestamp %q: %v", name, at, err)
	}
	if got.text("correlation_id") != otherGUID || trace != got.header.Get("x-ms-request-id") {
		t.Errorf("%s: correlation %q, trace %q, want %q, %q", name, got.text("correlation_id"), trace, otherGUID, got.header.Get("x-ms-request-id"))
	}
	description := got.text("error_description")
	if !strings.HasPrefix(description, fmt.Sprintf("AADSTS%d: ", number)) ||
		!strings.HasSuffix(description, fmt.Sprintf(" Trace ID: %s Correlation ID: %s Timestamp: %s", trace, otherGUID, at)) {
		t.Errorf("%s: error_description %q", name, description)
	}
	if want := fmt.Sprintf("https://%s/error?code=%d", loginHost, number); got.text("error_uri") != want {
		t.Errorf("%s: error_uri %q, want %q", name, got.text("error_uri"), want)
	}
}

func TestExpiredAndDisabled(t *testing.T) {
	b := newBench(t)
	b.update(func(tx *db.Tx) error { return b.store.SetEnabled(tx, b.principal.ObjectID, false) })
	got := b.post(loginHost, tokenV2, b.secretForm(), map[string]string{"client-request-id": otherGUID})
	checkRefusal(t, "disabled", got, 7000112, 400, "unauthorized_client")

	expired, _ := identity.NewClientSecret()
	b.update(func(tx *db.Tx) error {
		if err := b.store.SetEnabled(tx, b.principal.ObjectID, true); err != nil {
			return err
		}
		earlier := *tx
		earlier.Now = tx.Now.AddDate(-1, 0, 0)
		_, err := b.store.AddSecret(&earlier, b.app.AppID, "", expired, time.Time{}, time.Time{})
		return err
	})
	got = b.post(loginHost, tokenV2, b.secretForm("client_secret", string(expired.Reveal())), map[string]string{"client-request-id": otherGUID})
	checkRefusal(t, "expired secret", got, 7000222, 401, "invalid_client")
}

func TestMalformedForm(t *testing.T) {
	b := newBench(t)
	for name, tt := range map[string]struct {
		body   string
		status int
		text   string
	}{
		"no form":         {"%%%", 400, "AADSTS9002313: Invalid request. The body is no form: want application/x-www-form-urlencoded. Trace ID:"},
		"a broken escape": {"grant_type=client_credentials&client_id=%zz", 400, "AADSTS9002313: Invalid request. The body is no form: want application/x-www-form-urlencoded. Trace ID:"},
		"too large":       {"grant_type=" + strings.Repeat("x", 65<<10), 413, "AADSTS9002313: Invalid request. The request body is over the limit of 65536 bytes. Trace ID:"},
	} {
		got := b.do(b.login, ask{method: "POST", host: loginHost, path: tokenV2, body: tt.body, header: map[string]string{"client-request-id": otherGUID}})
		checkRefusal(t, name, got, 9002313, tt.status, "invalid_request")
		if !strings.HasPrefix(got.text("error_description"), tt.text) {
			t.Errorf("%s: %q, want %q", name, got.text("error_description"), tt.text)
		}
	}
}
