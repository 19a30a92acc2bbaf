package graph

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
)

func TestDeclarations(t *testing.T) {
	for _, op := range New(Options{}).Ops {
		if op.Access != operation.Authenticated || op.Level != operation.TenantLevel {
			t.Errorf("%s: want a token and the tenant's level", op.Name)
		}
		if reads := op.Method == "GET" || op.Name == "DirectoryObjectsGetByIds"; reads != (op.Writes == 0) {
			t.Errorf("%s %s: Writes = %d", op.Method, op.Name, op.Writes)
		}
		if (op.Action == "") != (op.Name == "MeGet") {
			t.Errorf("%s asks for the action %q", op.Name, op.Action)
		}
	}
}

func TestApplications(t *testing.T) {
	b := newBench(t)
	app, _ := b.program("payroll")
	other := b.want(201, "POST", "/applications", `{"displayName":"it's other","signInAudience":"AzureADMyOrg"}`)
	id, appID := app.text("id"), app.text("appId")

	for path, want := range map[string]string{
		"/applications/" + id:    id,
		"/applications/" + appID: id,
	} {
		if got := b.want(200, "GET", path, ""); got.text("id") != want || got.text("displayName") != "payroll" || got.text("createdDateTime") == "" {
			t.Errorf("GET %s = %s, want id %s", path, got.raw, want)
		}
	}
	for filter, want := range map[string]string{
		"appId eq '" + strings.ToUpper(appID) + "'": id,
		"displayName eq 'it''s other'":              other.text("id"),
		"displayName eq 'nothing'":                  "",
	} {
		if got := b.want(200, "GET", "/applications?$filter="+url.QueryEscape(filter), ""); got.ids() != want {
			t.Errorf("filter %s = %q, want %q", filter, got.ids(), want)
		}
	}
	if got := b.want(200, "GET", "/applications", ""); len(got.values()) != 2 || got.text("@odata.context") == "" {
		t.Errorf("list = %s, want two applications and a context", got.raw)
	}
	b.want(204, "DELETE", "/applications/"+id, "")
	if got := b.want(404, "GET", "/applications/"+id, ""); got.errorCode() != "Request_ResourceNotFound" {
		t.Errorf("deleted application: %s, want Request_ResourceNotFound", got.raw)
	}
	if got := b.want(200, "GET", "/servicePrincipals?$filter="+url.QueryEscape("appId eq '"+appID+"'"), ""); got.ids() != "" {
		t.Errorf("service principal of a deleted application: %s, want none", got.raw)
	}
}

func TestPasswords(t *testing.T) {
	b := newBench(t)
	app, principal := b.program("payroll")
	path := "/applications/" + app.text("id")
	end := time.Now().Add(24 * time.Hour).UTC().Format("2006-01-02T15:04:05Z")
	made := b.want(200, "POST", path+"/addPassword", fmt.Sprintf(`{"passwordCredential":{"displayName":"ci","endDateTime":%q}}`, end))
	secret := made.text("secretText")
	if len(secret) != 40 || made.text("endDateTime") != end || made.text("displayName") != "ci" || made.text("hint") != secret[:3] {
		t.Errorf("addPassword = displayName %q, endDateTime %q, hint %q and a secret of %d characters", made.text("displayName"), made.text("endDateTime"), made.text("hint"), len(secret))
	}
	check := func() error {
		return b.db.View(t.Context(), func(tx *db.Tx) error {
			p, _, err := b.store.CheckSecret(tx, app.text("appId"), envelope.NewValue([]byte(secret)))
			if err == nil && p.ObjectID != principal.text("id") {
				err = fmt.Errorf("signed in as %s", p.ObjectID)
			}
			return err
		})
	}
	if err := check(); err != nil {
		t.Errorf("sign in by the new secret: %v", err)
	}
	got := b.want(200, "GET", path, "")
	if strings.Contains(string(got.raw), secret) || !strings.Contains(string(got.raw), made.text("keyId")) || !strings.Contains(string(got.raw), `"secretText":null`) {
		t.Errorf("application shows %s, want the credential without its text", got.raw)
	}
	reference := fmt.Sprintf(`{"keyId":%q}`, strings.ToUpper(made.text("keyId")))
	b.want(400, "POST", path+"/removeKey", reference) // it is no certificate
	b.want(204, "POST", path+"/removePassword", reference)
	b.want(400, "POST", path+"/removePassword", reference)
	if err := check(); err == nil {
		t.Error("a removed secret signs in")
	}
	for _, body := range []string{
		`{"passwordCredential":{"endDateTime":"2001-01-01T00:00:00Z"}}`, `{"passwordCredential":{"endDateTime":"2999-01-01T00:00:00Z"}}`,
		`{"passwordCredential":{"endDateTime":"tomorrow"}}`, `{"passwordCredential":[]}`, ``,
	} {
		if got := b.want(400, "POST", path+"/addPassword", body); got.errorCode() != "Request_BadRequest" {
			t.Errorf("addPassword %s = %s, want Request_BadRequest", body, got.raw)
		}
	}
	b.want(200, "POST", path+"/addPassword", `{}`)
	b.want(404, "POST", "/applications/"+otherGUID+"/addPassword", `{}`)
}

func newCertificate(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "payroll"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func TestCertificates(t *testing.T) {
	b := newBench(t)
	app, _ := b.program("payroll")
	path := "/applications/" + app.text("id")
	first, second := newCertificate(t), newCertificate(t)
	body := func(key string) string {
		return fmt.Sprintf(`{"keyCredentials":[{"keyId":%q,"key":null},{"type":"AsymmetricX509Cert","usage":"Verify","key":%q}]}`, otherGUID, key)
	}
	b.want(204, "PATCH", path, body(first))
	b.want(204, "PATCH", path, body(second))
	b.want(409, "PATCH", path, body(first))
	got := b.want(200, "GET", path, "")
	keys, _ := got.body["keyCredentials"].([]any)
	if len(keys) != 2 {
		t.Fatalf("keyCredentials = %s, want two", got.raw)
	}
	one := keys[0].(map[string]any)
	if one["type"] != "AsymmetricX509Cert" || one["usage"] != "Verify" || one["key"] != nil || one["displayName"] != "payroll" || len(one["customKeyIdentifier"].(string)) != 40 {
		t.Errorf("keyCredential = %v", one)
	}
	b.want(204, "POST", path+"/removeKey", fmt.Sprintf(`{"keyId":%q}`, one["keyId"]))
	b.want(400, "POST", path+"/removePassword", fmt.Sprintf(`{"keyId":%q}`, keys[1].(map[string]any)["keyId"]))
	for _, body := range []string{
		`{"displayName":"new"}`, `{"keyCredentials":[{"type":"AsymmetricX509Cert","usage":"Sign","key":"` + first + `"}]}`,
		`{"keyCredentials":[{"type":"AsymmetricX509Cert","usage":"Verify","key":"%%"}]}`,
		`{"keyCredentials":[{"type":"AsymmetricX509Cert","usage":"Verify","key":"AAAA"}]}`,
	} {
		if got := b.want(400, "PATCH", path, body); got.errorCode() != "Request_BadRequest" {
			t.Errorf("PATCH %.60s = %s, want Request_BadRequest", body, got.raw)
		}
	}
}

func TestServicePrincipals(t *testing.T) {
	b := newBench(t)
	app, principal := b.program("payroll")
	id, appID := principal.text("id"), app.text("appId")
	var managed identity.Principal
	b.update(func(tx *db.Tx) (err error) {
		managed, _, err = b.store.PutManagedIdentity(tx, "/subscriptions/"+otherGUID+"/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/dev", "dev", "local", nil)
		return err
	})
	if got := b.want(409, "POST", "/servicePrincipals", fmt.Sprintf(`{"appId":%q}`, appID)); got.errorCode() != "Request_MultipleObjectsWithSameKeyValue" {
		t.Errorf("second service principal: %s", got.raw)
	}
	for filter, want := range map[string]string{
		"appId eq '" + appID + "'":                              id,
		"displayName eq 'dev'":                                  managed.ObjectID,
		"servicePrincipalNames/any(c:c eq '" + appID + "')":     id,
		"servicePrincipalNames/any(x:x eq '" + otherGUID + "')": "",
	} {
		if got := b.want(200, "GET", "/servicePrincipals?%24filter="+url.QueryEscape(filter), ""); got.ids() != want {
			t.Errorf("filter %s = %q, want %q", filter, got.ids(), want)
		}
	}
	if got := b.want(400, "GET", "/servicePrincipals?$filter="+url.QueryEscape("startswith(displayName,'d')"), ""); got.errorCode() != "Request_UnsupportedQuery" {
		t.Errorf("foreign filter: %s, want Request_UnsupportedQuery", got.raw)
	}
	got := b.want(200, "GET", "/servicePrincipals/"+managed.ObjectID, "")
	if got.text("servicePrincipalType") != "ManagedIdentity" || got.body["accountEnabled"] != true || got.text("appOwnerOrganizationId") != testTenant || !strings.Contains(string(got.raw), managed.ResourceID) {
		t.Errorf("managed identity = %s", got.raw)
	}
	b.want(204, "PATCH", "/servicePrincipals/"+id, `{"accountEnabled":false}`)
	if got := b.want(200, "GET", "/servicePrincipals/"+id, ""); got.body["accountEnabled"] != false {
		t.Errorf("disabled service principal = %s", got.raw)
	}
	b.want(400, "PATCH", "/servicePrincipals/"+id, `{}`)
	b.want(400, "DELETE", "/servicePrincipals/"+managed.ObjectID, "")
	b.want(204, "DELETE", "/servicePrincipals/"+id, "")
	b.want(404, "DELETE", "/servicePrincipals/"+id, "")
}

func TestGroups(t *testing.T) {
	b := newBench(t)
	_, principal := b.program("payroll")
	member := principal.text("id")
	group := b.want(201, "POST", "/groups", `{"displayName":"readers","mailNickname":"r","mailEnabled":false,"securityEnabled":true}`)
	path := "/groups/" + group.text("id")
	b.want(400, "POST", "/groups", `{"displayName":"mail","mailEnabled":true}`)
	reference := fmt.Sprintf(`{"@odata.id":"https://graph.microsoft.com/v1.0/directoryObjects/%s"}`, strings.ToUpper(member))
	b.want(204, "POST", path+"/members/%24ref", reference)
	b.want(400, "POST", path+"/members/$ref", reference)
	b.want(400, "POST", path+"/members/$ref", fmt.Sprintf(`{"@odata.id":"https://x/%s"}`, group.text("id")))
	b.want(400, "POST", path+"/members/$ref", `{"@odata.id":"https://x/y"}`)
	b.want(404, "POST", path+"/members/$ref", fmt.Sprintf(`{"@odata.id":%q}`, otherGUID))
	got := b.want(200, "GET", path+"/members", "")
	if got.ids() != member || got.values()[0]["@odata.type"] != "#microsoft.graph.servicePrincipal" {
		t.Errorf("members = %s, want the service principal", got.raw)
	}
	if got := b.want(200, "GET", "/groups?$filter="+url.QueryEscape("displayName eq 'readers'"), ""); got.ids() != group.text("id") {
		t.Errorf("groups = %s, want %s", got.raw, group.text("id"))
	}
	b.want(200, "GET", path, "")
	b.want(404, "GET", "/groups/"+member, "")
	b.want(404, "GET", "/servicePrincipals/"+group.text("id"), "")
	b.want(204, "DELETE", path+"/members/"+member+"/$ref", "")
	b.want(404, "DELETE", path+"/members/"+member+"/$ref", "")
	b.want(204, "DELETE", path, "")
	b.want(404, "DELETE", path, "")
}

func TestGetByIDs(t *testing.T) {
	b := newBench(t)
	_, principal := b.program("payroll")
	group := b.want(201, "POST", "/groups", `{"displayName":"readers"}`)
	p, g := principal.text("id"), group.text("id")
	ids := fmt.Sprintf(`"ids":[%q,%q,%q]`, strings.ToUpper(p), g, otherGUID)
	for body, want := range map[string]string{
		`{` + ids + `}`: p + " " + g,
		`{` + ids + `,"types":["user","group","servicePrincipal","directoryObjectPartnerReference"]}`: p + " " + g,
		`{` + ids + `,"types":["group"]}`: g,
		`{` + ids + `,"types":["user"]}`:  "",
	} {
		if got := b.want(200, "POST", "/directoryObjects/getByIds", body); got.ids() != want {
			t.Errorf("getByIds %s = %q, want %q", body, got.ids(), want)
		}
	}
	b.want(400, "POST", "/directoryObjects/getByIds", `{"ids":[]}`)
}

func TestPages(t *testing.T) {
	b := newBench(t)
	for i := range 5 {
		b.want(201, "POST", "/groups", fmt.Sprintf(`{"displayName":"g%d"}`, i))
	}
	all := b.want(200, "GET", "/groups", "")
	var seen []string
	path := "/groups?$top=2"
	for range 3 {
		got := b.want(200, "GET", path, "")
		seen = append(seen, got.ids())
		link, err := url.Parse(got.text("@odata.nextLink"))
		if err != nil {
			t.Fatal(err)
		}
		if path = strings.TrimPrefix(link.Path, "/v1.0") + "?" + link.RawQuery; link.Path == "" {
			break
		}
		if link.Host != "graph.localhost:8443" {
			t.Errorf("nextLink = %s, want the host of the request", link)
		}
	}
	if strings.Join(seen, " ") != all.ids() || len(seen) != 3 {
		t.Errorf("pages = %q, want three with %q", seen, all.ids())
	}
	b.want(400, "GET", "/groups?$top=0", "")
}

func TestMe(t *testing.T) {
	b := newBench(t)
	_, principal := b.program("payroll")
	if got := b.want(200, "GET", "/me", ""); got.text("id") != identity.LocalOwnerID || got.text("@odata.type") != "#microsoft.graph.user" {
		t.Errorf("me of the local owner = %s", got.raw)
	}
	b.signIn(principal.text("id"))
	if got := b.want(200, "GET", "/me", ""); got.text("id") != principal.text("id") || got.text("displayName") != "payroll" {
		t.Errorf("me of a program = %s", got.raw)
	}
}

func TestRights(t *testing.T) {
	b := newBench(t)
	app, _ := b.program("payroll")
	group := b.want(201, "POST", "/groups", `{"displayName":"readers"}`)
	_, none := b.program("none")
	_, reader := b.program("reader")
	_, contributor := b.program("contributor")
	_, owner := b.program("owner")
	b.assign("Reader", reader.text("id"))
	b.assign("Contributor", contributor.text("id"))
	b.assign("Owner", owner.text("id"))
	addPassword := "/applications/" + app.text("id") + "/addPassword"
	addMember := "/groups/" + group.text("id") + "/members/$ref"
	reference := fmt.Sprintf(`{"@odata.id":%q}`, none.text("id"))
	for _, tt := range []struct {
		who, method, path, body string
		status                  int
	}{
		{none.text("id"), "GET", "/applications", "", 403},
		{none.text("id"), "GET", "/applications/" + otherGUID, "", 403}, // permission before existence
		{none.text("id"), "POST", addPassword, "{", 403},                // and before the body
		{reader.text("id"), "GET", "/applications", "", 200},
		{reader.text("id"), "POST", "/groups", `{"displayName":"x"}`, 403},
		{contributor.text("id"), "POST", addPassword, `{}`, 403}, // or it could act as any program
		{contributor.text("id"), "POST", addMember, reference, 403},
		{owner.text("id"), "POST", addPassword, `{}`, 200},
		{owner.text("id"), "POST", addMember, reference, 204},
	} {
		b.signIn(tt.who)
		got := b.want(tt.status, tt.method, tt.path, tt.body)
		if tt.status == 403 && got.errorCode() != "Authorization_RequestDenied" {
			t.Errorf("%s %s = %s, want Authorization_RequestDenied", tt.method, tt.path, got.raw)
		}
	}
}

func TestTokens(t *testing.T) {
	b := newBench(t)
	b.as = nil
	for _, token := range []string{"", "x"} {
		b.token = token
		got := b.want(401, "GET", "/nothing", "")
		challenge := `Bearer realm="", authorization_uri="https://login.localhost:8443/` + testTenant + `/oauth2/authorize"`
		if got.errorCode() != "InvalidAuthenticationToken" || got.header.Get("WWW-Authenticate") != challenge {
			t.Errorf("token %q: %s, %q, want InvalidAuthenticationToken and %q", token, got.raw, got.header.Get("WWW-Authenticate"), challenge)
		}
		e := got.body["error"].(map[string]any)["innerError"].(map[string]any)
		if e["date"] == "" || e["request-id"] != got.header.Get("x-ms-request-id") || e["client-request-id"] == "" {
			t.Errorf("token %q: innerError %v, want three members", token, e)
		}
	}
	b.as, b.token = operation.LocalOwner(), ""
	b.want(404, "GET", "/nothing", "")
	b.want(405, "PUT", "/applications", "{}")
}

func TestParseFilter(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want filter
		ok   bool
	}{
		{"", filter{}, true},
		{"appId eq 'x'", filter{"appId", "x"}, true},
		{"  appId  eq  'it''s' ", filter{"appId", "it's"}, true},
		{"names/any(c:c eq 'x')", filter{"names/any", "x"}, true},
		{"names/any(c: c eq 'x')", filter{"names/any", "x"}, true},
		{"names/any(c:d eq 'x')", filter{}, false},
		{"appId eq 'x' or appId eq 'y'", filter{}, false},
		{"appId eq x", filter{}, false},
		{"id eq 'x'", filter{}, false},
	} {
		got, err := parseFilter(tt.in, "appId", "names/any")
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("parseFilter(%q) = %v, %v, want %v, ok %v", tt.in, got, err, tt.want, tt.ok)
		}
	}
}
