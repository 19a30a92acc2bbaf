package login

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"strongroom/internal/db"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

// openTestRun opens nothing, and says one line; offline, it fails.
func openTestRun(o RunOptions, say func(string)) (OpenRun, error) {
	if o.Offline {
		return OpenRun{}, errors.New("no port is free")
	}
	go say("one line\nonly")
	return OpenRun{ProxyURL: "http://127.0.0.1:9", CA: []byte("PEM"), Close: func() {}}, nil
}

func (b *bench) startRun(body string) answer {
	b.t.Helper()
	return b.do(b.login, ask{method: "POST", host: loginHost, path: "/runs", body: body, local: true})
}

// lines reads lines of a run's answer, and ends it then.
func (b *bench) lines(a answer, n int) (out []RunLine) {
	b.t.Helper()
	if a.status != http.StatusOK || a.stream == nil {
		b.t.Fatalf("POST /runs = %d %s, want 200 and a stream", a.status, a.raw)
	}
	ctx, end := context.WithCancel(b.t.Context())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- a.stream(ctx, w); w.Close() }()
	lines := bufio.NewScanner(r)
	for range n {
		var line RunLine
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &line) != nil {
			b.t.Fatalf("line %q, %v", lines.Text(), lines.Err())
		}
		out = append(out, line)
	}
	end()
	if err := <-ended; err != nil {
		b.t.Errorf("the answer ended with %v", err)
	}
	return out
}

func TestStartRun(t *testing.T) {
	b := newBench(t)
	dev := b.addManaged("dev")
	secrets := map[string]bool{}
	for _, who := range []string{"", "dev", dev.AppID, strings.ToUpper(dev.ObjectID), strings.ToUpper(dev.ResourceID)} {
		var got RunStarted
		for _, line := range b.lines(b.startRun(`{"identity":"`+who+`"}`), 2) { // in any order
			if line.Started != nil {
				got = *line.Started
			} else if line.Say != "one line only" {
				t.Errorf("line %+v, want what was said, in one line", line)
			}
		}
		want := RunStarted{
			Proxy: "http://127.0.0.1:9", IdentityEndpoint: "http://127.0.0.1:9/msi/token", Secret: got.Secret, ClientID: dev.AppID,
			CA: "PEM", VaultSuffix: "vault.strongroom.internal", ManagementHost: "management.strongroom.internal",
			LoginHost: "login.strongroom.internal", Tenant: testTenant, Subscription: testSubscription,
		}
		if got != want || len(got.Secret) != 43 || secrets[got.Secret] {
			t.Errorf("run as %q = %+v, want %+v with a secret of its own", who, got, want)
		}
		secrets[got.Secret] = true
	}
	if e := b.lastEntry(); e.Operation != "RunStart" || e.ObjectID != identity.LocalOwnerID {
		t.Errorf("audit entry of %s by %s, want RunStart by the local owner", e.Operation, e.ObjectID)
	}
	b.lines(b.startRun(`{"identity":"`+b.app.AppID+`"}`), 2)
	if got := b.lines(b.startRun(`{"identity":"dev","offline":true}`), 1); got[0].Error != "no port is free" {
		t.Errorf("a run that cannot be opened: %+v, want why", got[0])
	}
}

func TestStartRunRefusals(t *testing.T) {
	b := newBench(t)
	if got := b.startRun(`{}`); got.status != http.StatusBadRequest {
		t.Errorf("without any identity = %d %s, want 400", got.status, got.raw)
	}
	b.addManaged("dev")
	off := b.addManaged("off")
	b.update(func(tx *db.Tx) error {
		if _, err := b.store.CreateGroup(tx, "group"); err != nil {
			return err
		}
		for range 2 {
			a, err := b.store.CreateApplication(tx, "twin")
			if err != nil {
				return err
			}
			if _, err = b.store.CreateServicePrincipal(tx, a.AppID); err != nil {
				return err
			}
		}
		return b.store.SetEnabled(tx, off.ObjectID, false)
	})
	for _, tt := range []struct {
		body, code string
		status     int
	}{
		{`{}`, "invalid_request", 400}, // two identities and no default
		{`{"identity":"nobody"}`, "IdentityNotFound", 404},
		{`{"identity":"group"}`, "IdentityNotFound", 404},
		{`{"identity":"twin"}`, "IdentityAmbiguous", 400},
		{`{"identity":"off"}`, "IdentityDisabled", 400},
		{`{"identity":"dev","tenant":"a/b"}`, "InvalidRun", 400},
		{`{"identity":"dev","tenant":"a:1"}`, "InvalidRun", 400},
		{`{"identity":"dev","vault":"a.b"}`, "InvalidRun", 400},
		{`{"identity":"dev","vaults":{"contoso":"x y"}}`, "InvalidRun", 400},
		{`{"identity":"dev","vaults":{"":"payroll"}}`, "InvalidRun", 400},
		{`{`, "BadParameter", 400},
	} {
		got := b.startRun(tt.body)
		e, _ := got.body["error"].(map[string]any)
		if got.status != tt.status || e["code"] != tt.code {
			t.Errorf("POST run %s = %d %s, want %d %s", tt.body, got.status, got.raw, tt.status, tt.code)
		}
	}
}

const runSecret = "0123456789012345678901234567890123456789012"

// azureRun is a run of an identity under Azure's own names.
func azureRun(p identity.Principal) *operation.Run {
	families := resource.Clouds()
	for i := range families {
		families[i].InRun = true
	}
	return &operation.Run{ObjectID: p.ObjectID, Secret: sha256.Sum256([]byte(runSecret)), Families: families}
}

// In a run every tenant is the home tenant, and what documents say is of the cloud and the tenant that
// the program believes in (the hosts and issuers are those of the cloud's own documents).
func TestDocumentsOfARun(t *testing.T) {
	b := newBench(t)
	run := azureRun(b.addManaged("dev"))
	get := func(host, path, query string) answer {
		return b.do(b.login, ask{method: "GET", host: host, path: path, query: query, run: run})
	}
	for _, tt := range []struct{ host, path, issuer, endpoint string }{
		{"login.microsoftonline.com", "/" + otherGUID + "/v2.0", "https://login.microsoftonline.com/" + otherGUID + "/v2.0", "https://login.microsoftonline.com/" + otherGUID + "/oauth2/v2.0/token"},
		{"login.windows.net", "/" + otherGUID, "https://sts.windows.net/" + otherGUID + "/", "https://login.windows.net/" + otherGUID + "/oauth2/token"},
		{"login.microsoftonline.com", "/contoso.onmicrosoft.com/v2.0", "https://login.microsoftonline.com/contoso.onmicrosoft.com/v2.0", "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token"},
		{"login.microsoftonline.com", "/common/v2.0", "https://login.microsoftonline.com/{tenantid}/v2.0", "https://login.microsoftonline.com/common/oauth2/v2.0/token"},
		{"westeurope.login.microsoft.com", "/" + otherGUID + "/v2.0", "https://login.microsoftonline.com/" + otherGUID + "/v2.0", "https://login.microsoftonline.com/" + otherGUID + "/oauth2/v2.0/token"},
		{"login.microsoftonline.us", "/" + otherGUID + "/v2.0", "https://login.microsoftonline.us/" + otherGUID + "/v2.0", "https://login.microsoftonline.us/" + otherGUID + "/oauth2/v2.0/token"},
		{"login.chinacloudapi.cn", "/" + otherGUID + "/v2.0", "https://login.chinacloudapi.cn/" + otherGUID + "/v2.0", "https://login.chinacloudapi.cn/" + otherGUID + "/oauth2/v2.0/token"},
	} {
		got := get(tt.host, tt.path+"/.well-known/openid-configuration", "")
		if got.status != http.StatusOK || got.text("issuer") != tt.issuer || got.text("token_endpoint") != tt.endpoint {
			t.Errorf("%s%s = %d %q, %q, want %q, %q", tt.host, tt.path, got.status, got.text("issuer"), got.text("token_endpoint"), tt.issuer, tt.endpoint)
		}
	}
	discovered := get("login.microsoftonline.com", "/common/discovery/instance",
		"api-version=1.1&authorization_endpoint=https://login.chinacloudapi.cn/"+otherGUID+"/oauth2/v2.0/authorize")
	if discovered.status != http.StatusOK || !strings.Contains(string(discovered.raw), `"aliases":["login.chinacloudapi.cn","login.partner.microsoftonline.cn"]`) {
		t.Errorf("discovery of another cloud = %d %s", discovered.status, discovered.raw)
	}
	if got := get("login.microsoftonline.com", "/a%3Ab/v2.0/.well-known/openid-configuration", ""); got.status != http.StatusBadRequest {
		t.Errorf("a tenant that is no name = %d %s, want 400", got.status, got.raw)
	}
}

// A program that brings a tenant of its own signs in, for every audience; its tokens are of its cloud.
func TestTokensOfARun(t *testing.T) {
	b := newBench(t)
	run := azureRun(b.addManaged("dev"))
	for resource, want := range map[string]int{
		"https://vault.azure.net": 200, "https://storage.azure.com": 200, "https://management.core.windows.net/": 200,
		"api://contoso": 200, "https://vault.azure.cn": 200,
	} {
		form := b.secretForm("scope", resource+"/.default")
		got := b.do(b.login, ask{method: "POST", host: "login.microsoftonline.com", path: "/" + otherGUID + "/oauth2/v2.0/token", body: form.Encode(), run: run})
		if got.status != want {
			t.Errorf("a token for %s = %d %s, want %d", resource, got.status, got.raw, want)
			continue
		}
		claims := decoded(t, got.text("access_token"))
		issuer := "https://sts.windows.net/" + testTenant + "/"
		if resource == "https://vault.azure.cn" {
			issuer = "https://sts.chinacloudapi.cn/" + testTenant + "/"
		}
		if claims["aud"] != resource || claims["iss"] != issuer || claims["oid"] != b.principal.ObjectID {
			t.Errorf("a token for %s has %v, want issuer %s", resource, claims, issuer)
		}
	}
	// Outside a run nothing of this holds.
	got := b.post(loginHost, "/"+otherGUID+"/oauth2/v2.0/token", b.secretForm("scope", "https://vault.azure.net/.default"), nil)
	if got.status != http.StatusBadRequest {
		t.Errorf("another tenant outside a run = %d %s, want 400", got.status, got.raw)
	}
	got = b.post(loginHost, tokenV2, b.secretForm("scope", "https://vault.azure.net/.default"), nil)
	if got.status != http.StatusBadRequest {
		t.Errorf("another's vaults outside a run = %d %s, want 400", got.status, got.raw)
	}
}

// decoded reads the claims of a token without a look at its signature.
func decoded(t *testing.T, token string) (claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("token %q has %d parts", token, len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims
}
