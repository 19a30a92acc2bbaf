package login

import (
	"net/http"
	"strings"
	"testing"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/operation"
)

func self() (int, bool)   { return ownUID, true }
func other() (int, bool)  { return ownUID + 1, true }
func nobody() (int, bool) { return ownUID, false }
func query(s string) string {
	return "api-version=2018-02-01&resource=https%3A%2F%2Fvault.localhost%3A8443" + s
}

// imds is a good request of the IMDS form, changed.
func imds(edit func(a *ask)) ask {
	a := ask{
		method: "GET", host: "127.0.0.1:8440", path: imdsPath, query: query(""),
		header: map[string]string{"Metadata": "true"}, uid: self,
	}
	if edit != nil {
		edit(&a)
	}
	return a
}

func TestIMDSToken(t *testing.T) {
	b := newBench(t)
	dev := b.addManaged("dev")
	for name, edit := range map[string]func(a *ask){
		"the only identity":   nil,
		"a trailing slash":    func(a *ask) { a.path += "/" },
		"by the IMDS address": func(a *ask) { a.host = "169.254.169.254" },
		"by name":             func(a *ask) { a.host = "localhost:8440" },
		"by IPv6":             func(a *ask) { a.host = "[::1]:8440" },
		"client id":           func(a *ask) { a.query = query("&client_id=" + strings.ToUpper(dev.AppID)) },
		"object id":           func(a *ask) { a.query = query("&object_id=" + dev.ObjectID) },
		"resource id":         func(a *ask) { a.query = query("&msi_res_id=" + strings.ToLower(dev.ResourceID)) },
		"an empty selector":   func(a *ask) { a.query = query("&client_id=") },
	} {
		got := b.do(b.managed, imds(edit))
		if got.status != http.StatusOK {
			t.Errorf("%s: %d %s, want 200", name, got.status, got.raw)
			continue
		}
		for _, member := range []string{"access_token", "client_id", "expires_in", "expires_on", "ext_expires_in", "not_before", "resource", "token_type"} {
			if got.text(member) == "" {
				t.Errorf("%s: member %s = %v, want a string", name, member, got.body[member])
			}
		}
		claims := b.verified(got.text("access_token"))
		mirid := strings.Replace(dev.ResourceID, "resourceGroups", "resourcegroups", 1)
		if claims["oid"] != dev.ObjectID || got.text("client_id") != dev.AppID || claims["aud"] != vault || claims["xms_mirid"] != mirid {
			t.Errorf("%s: claims %v, want those of %s", name, claims, dev.ObjectID)
		}
		if e := b.lastEntry(); e.Operation != "ManagedIdentityToken" || e.ObjectID != dev.ObjectID {
			t.Errorf("%s: audit entry of %s by %s", name, e.Operation, e.ObjectID)
		}
	}
}

func TestIMDSRefusals(t *testing.T) {
	b := newBench(t)
	if got := b.do(b.managed, imds(nil)); got.status != 400 || got.text("error_description") != "Identity not found" {
		t.Errorf("no identity: %d %s, want 400 Identity not found", got.status, got.raw)
	}
	b.addManaged("dev")
	off := b.addManaged("off")
	b.update(func(tx *db.Tx) error { return b.store.SetEnabled(tx, off.ObjectID, false) })
	for name, tt := range map[string]struct {
		edit        func(a *ask)
		word, saysA string
	}{
		"the bare probe":      {func(a *ask) { a.header, a.query, a.uid = nil, "", nil }, "bad_request_102", "metadata header"},
		"no header":           {func(a *ask) { a.header = nil }, "bad_request_102", "metadata header"},
		"wrong letter case":   {func(a *ask) { a.header["Metadata"] = "True" }, "bad_request_102", "metadata header"},
		"a proxy":             {func(a *ask) { a.header["X-Forwarded-For"] = "127.0.0.1" }, "invalid_request", "proxy"},
		"a rebound name":      {func(a *ask) { a.host = "evil.example:8440" }, "invalid_request", "Host"},
		"another user":        {func(a *ask) { a.uid = other }, "invalid_request", "user"},
		"an unknown user":     {func(a *ask) { a.uid = nobody }, "invalid_request", "off here"},
		"no way to tell":      {func(a *ask) { a.uid = nil }, "invalid_request", "off here"},
		"no resource":         {func(a *ask) { a.query = "api-version=2018-02-01" }, "invalid_request", "resource"},
		"no version":          {func(a *ask) { a.query = "resource=" + vault }, "invalid_request", "api-version"},
		"an empty version":    {func(a *ask) { a.query = "api-version=&resource=" + vault }, "invalid_request", "api-version"},
		"no version at all":   {func(a *ask) { a.query = "api-version=latest&resource=" + vault }, "invalid_request", "api-version"},
		"two resources":       {func(a *ask) { a.query = query("&resource=x") }, "invalid_request", "resource"},
		"two versions":        {func(a *ask) { a.query = query("&api-version=x") }, "invalid_request", "api-version"},
		"unknown resource":    {func(a *ask) { a.query = "api-version=2018-02-01&resource=https://storage.azure.com/&client_id=" }, "invalid_request", "Multiple"},
		"several identities":  {nil, "invalid_request", "Multiple user assigned identities exist"},
		"unknown client id":   {func(a *ask) { a.query = query("&client_id=" + otherGUID) }, "invalid_request", "Identity not found"},
		"a service principal": {func(a *ask) { a.query = query("&client_id=" + b.app.AppID) }, "invalid_request", "Identity not found"},
		"disabled":            {func(a *ask) { a.query = query("&client_id=" + off.AppID) }, "invalid_request", "Identity not found"},
		"another method":      {func(a *ask) { a.method = "POST" }, "invalid_request", "want GET"},
	} {
		got := b.do(b.managed, imds(tt.edit))
		if got.status != 400 || got.text("error") != tt.word || !strings.Contains(got.text("error_description"), tt.saysA) {
			t.Errorf("%s: %d %s, want 400 %s, %q", name, got.status, got.raw, tt.word, tt.saysA)
		}
	}
	for name, edit := range map[string]func(a *ask){
		"unknown path": func(a *ask) { a.path = "/metadata/instance" },
		"no path":      func(a *ask) { a.path = "/"; a.header["Authorization"] = "Bearer x" },
		"no header":    func(a *ask) { a.path = imdsPath + "x"; a.header = nil },
	} {
		got := b.do(b.managed, imds(edit))
		if got.status != 401 || got.text("error") != "unknown_source" || !strings.Contains(got.text("error_description"), "no such endpoint") {
			t.Errorf("%s: %d %s, want 401 unknown_source", name, got.status, got.raw)
		}
	}
	if n := len(b.entries()); n != 0 {
		t.Errorf("refused strangers left %d audit entries, want none", n)
	}
}

func TestIMDSDefault(t *testing.T) {
	b := newBench(t)
	dev := b.addManaged("dev")
	b.addManaged("other")
	b.update(func(tx *db.Tx) error { return tx.SetMeta(metaDefaultIdentity, dev.ObjectID) })
	got := b.do(b.managed, imds(nil))
	if got.status != http.StatusOK || got.text("client_id") != dev.AppID {
		t.Errorf("default identity: %d %s, want 200 and client %s", got.status, got.raw, dev.AppID)
	}
	got = b.do(b.managed, imds(func(a *ask) { a.query = "api-version=2018-02-01&resource=https://storage.azure.com/" }))
	if got.status != 400 || got.text("error") != "invalid_resource" || !strings.HasPrefix(got.text("error_description"), "AADSTS50001: ") {
		t.Errorf("unknown resource: %d %s, want 400 invalid_resource AADSTS50001", got.status, got.raw)
	}
}

func TestAppServiceToken(t *testing.T) {
	b := newBench(t)
	dev, elsewhere := b.addManaged("dev"), b.addManaged("elsewhere")
	run := azureRun(dev)
	run.Families = b.families
	for name, tt := range map[string]struct {
		query, secret string
		status        int
	}{
		"no selector":            {"resource=" + vault, runSecret, 200},
		"client id":              {"resource=" + vault + "&client_id=" + dev.AppID, runSecret, 200},
		"object id":              {"resource=" + vault + "&object_id=" + dev.ObjectID, runSecret, 200},
		"principal id":           {"resource=" + vault + "&principal_id=" + dev.ObjectID, runSecret, 200},
		"resource id":            {"resource=" + vault + "&mi_res_id=" + dev.ResourceID, runSecret, 200},
		"another's client id":    {"resource=" + vault + "&client_id=" + elsewhere.AppID, runSecret, 400},
		"no resource":            {"", runSecret, 400},
		"unknown resource":       {"resource=https://storage.azure.com", runSecret, 400},
		"wrong secret":           {"resource=" + vault, "x" + runSecret, 401},
		"no secret":              {"resource=" + vault, "", 401},
		"wrong secret, no query": {"", "x", 401},
	} {
		got := b.do(b.managed, ask{
			method: "GET", host: "127.0.0.1:8440", path: appServicePath, query: "api-version=2019-08-01&" + tt.query,
			header: map[string]string{"X-IDENTITY-HEADER": tt.secret}, run: run,
		})
		if got.status != tt.status {
			t.Errorf("%s: %d %s, want %d", name, got.status, got.raw, tt.status)
			continue
		}
		if tt.status != 200 {
			if got.body["statusCode"] != float64(tt.status) || got.text("message") == "" {
				t.Errorf("%s: %s, want statusCode and message", name, got.raw)
			}
			continue
		}
		claims := b.verified(got.text("access_token"))
		if claims["oid"] != dev.ObjectID || got.text("client_id") != dev.AppID || got.text("resource") != vault || got.text("token_type") != "Bearer" || got.text("expires_on") == "" {
			t.Errorf("%s: %s, want a token of %s", name, got.raw, dev.ObjectID)
		}
		if e := b.lastEntry(); e.Operation != "ManagedIdentityTokenAppService" || e.ObjectID != dev.ObjectID {
			t.Errorf("%s: audit entry of %s by %s", name, e.Operation, e.ObjectID)
		}
	}
	got := b.do(b.managed, ask{
		method: "GET", host: "127.0.0.1:8440", path: appServicePath, query: "resource=" + vault, header: map[string]string{"X-IDENTITY-HEADER": runSecret}, run: run,
	})
	if got.status != 400 || !strings.Contains(got.text("message"), "api-version") {
		t.Errorf("no version: %d %s, want 400 and what is missing", got.status, got.raw)
	}
	got = b.do(b.managed, ask{
		method: "GET", host: "127.0.0.1:8440", path: appServicePath, query: "api-version=2019-08-01&resource=" + vault,
		header: map[string]string{"X-IDENTITY-HEADER": runSecret}, uid: self,
	})
	if got.status != 401 {
		t.Errorf("the secret outside the run's proxy: %d %s, want 401", got.status, got.raw)
	}
	imdsOfRun := imds(func(a *ask) { a.run, a.uid = run, nil })
	if got := b.do(b.managed, imdsOfRun); got.status != 200 || got.text("client_id") != dev.AppID {
		t.Errorf("the IMDS form in a run: %d %s, want the run's identity", got.status, got.raw)
	}
	imdsOfRun.query += "&client_id=" + elsewhere.AppID
	if got := b.do(b.managed, imdsOfRun); got.status != 400 {
		t.Errorf("another's identity by the IMDS form in a run: %d %s, want 400", got.status, got.raw)
	}
	b.update(func(tx *db.Tx) error { return b.store.DeletePrincipal(tx, dev.ObjectID) })
	got = b.do(b.managed, ask{
		method: "GET", host: "127.0.0.1:8440", path: appServicePath, query: "api-version=2019-08-01&resource=" + vault, header: map[string]string{"X-IDENTITY-HEADER": runSecret}, run: run,
	})
	if got.status != 400 || got.text("message") != "Identity not found" {
		t.Errorf("deleted identity: %d %s, want 400 Identity not found", got.status, got.raw)
	}
}

// Clients repeat 404, 410, 429 and 5xx for a minute and more; only an outage is worth that.
func TestManagedStatuses(t *testing.T) {
	face := NewManaged(Options{}).Face
	for kind := apierr.BadRequestKind; kind <= apierr.InternalKind; kind++ {
		want := map[apierr.Kind]int{apierr.UnauthenticatedKind: 401, apierr.UnavailableKind: 503, apierr.TooManyKind: 429}[kind]
		if want == 0 {
			want = 400
		}
		if got, _ := face.Refuse(&operation.Call{}, apierr.New(kind, "x", "y"), nil); got != want {
			t.Errorf("status of kind %d = %d, want %d", kind, got, want)
		}
	}
}
