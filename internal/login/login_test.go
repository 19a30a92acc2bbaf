package login

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/internal/audit"
	"strongroom/internal/authz"
	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

const (
	testTenant       = "11111111-2222-4333-8444-555555555555"
	testSubscription = "99999999-2222-4333-8444-555555555555"
	otherGUID        = "77777777-2222-4333-8444-555555555555"
	ownUID           = 1234
)

// A bench is a deployment with two name families, one application and no managed identity.
type bench struct {
	t              *testing.T
	db             *db.DB
	store          *identity.Store
	pipeline       *operation.Pipeline
	families       resource.Families
	login, managed *operation.Table
	app            identity.Application
	principal      identity.Principal
	secret         string
	secretID       string
}

func newBench(t *testing.T) *bench {
	d := dbtest.Open(t, dbtest.SQLiteOptions(t))
	families := resource.Families{resource.NewFamily("default", "localhost", 8443), resource.NewFamily("run", "strongroom.internal", 443)}
	store := &identity.Store{Ring: dbtest.Ring(t), Tenant: testTenant}
	issuer := identity.NewIssuer(store, time.Hour, 30*24*time.Hour)
	if err := issuer.EnsureSigningKey(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	o := Options{
		Store: store, Issuer: issuer, Tenant: testTenant, Subscription: testSubscription, UID: ownUID, RunFamily: families[1],
		OpenRun: openTestRun,
	}
	b := &bench{
		t: t, db: d, store: store, families: families, login: New(o), managed: NewManaged(o),
		pipeline: &operation.Pipeline{
			DB: d, Authz: &authz.Store{Tenant: testTenant, Identity: store}, Issuer: issuer, Families: families,
			Counter: &audit.Counter{}, Log: slog.New(slog.DiscardHandler), Node: "test",
			Observe: func(string, string, int, time.Duration) {}, OnTampered: func() {},
		},
	}
	b.addApplication()
	return b
}

// update changes the directory.
func (b *bench) update(fn func(tx *db.Tx) error) {
	b.t.Helper()
	if err := b.db.Update(b.t.Context(), []string{db.Authorisation}, fn); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) addApplication() {
	secret, _ := identity.NewClientSecret()
	b.secret = string(secret.Reveal())
	b.update(func(tx *db.Tx) (err error) {
		if b.app, err = b.store.CreateApplication(tx, "payroll"); err != nil {
			return err
		}
		if b.principal, err = b.store.CreateServicePrincipal(tx, b.app.AppID); err != nil {
			return err
		}
		cr, err := b.store.AddSecret(tx, b.app.AppID, "", secret, time.Time{}, time.Time{})
		b.secretID = cr.ID
		return err
	})
}

// addManaged makes a managed identity.
func (b *bench) addManaged(name string) (p identity.Principal) {
	b.t.Helper()
	id := resource.Group(testSubscription, "default").Text + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name
	b.update(func(tx *db.Tx) (err error) {
		p, _, err = b.store.PutManagedIdentity(tx, id, name, "local", nil)
		return err
	})
	return p
}

// addCertificate registers a new certificate for the application.
func (b *bench) addCertificate() (*rsa.PrivateKey, []byte) {
	b.t.Helper()
	key, der := testCertificate(b.t)
	b.update(func(tx *db.Tx) error {
		_, err := b.store.AddCertificate(tx, b.app.AppID, "", der)
		return err
	})
	return key, der
}

// testKey is made once: it takes some tenths of a second.
var testKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func testCertificate(t *testing.T) (*rsa.PrivateKey, []byte) {
	t.Helper()
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62)) // no two certificates are alike
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "payroll"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

// An ask is a request to one of the faces.
type ask struct {
	method, host, path, query string
	header                    map[string]string
	body                      string
	local                     bool
	uid                       func() (int, bool)
	run                       *operation.Run
}

// An answer is a response with its body as JSON.
type answer struct {
	status int
	header http.Header
	body   map[string]any
	raw    []byte
	stream func(context.Context, io.Writer) error
}

func (a answer) text(name string) string { s, _ := a.body[name].(string); return s }

func (b *bench) do(t *operation.Table, a ask) answer {
	b.t.Helper()
	families := b.families
	if a.run != nil {
		families = a.run.Families
	}
	host, ok := families.Resolve(a.host)
	if !ok {
		host = families[0].LoginHost()
		host.Text = a.host // the managed identity listener answers whatever its host is called
	}
	h := http.Header{}
	for name, value := range a.header {
		h.Set(name, value)
	}
	r := &operation.Request{
		Method: a.method, Path: a.path, Query: a.query, Header: h, Body: strings.NewReader(a.body), Host: host,
		Peer: operation.Peer{Local: a.local, UID: a.uid, Run: a.run},
	}
	if a.local {
		r.Caller = operation.LocalOwner()
	}
	resp := b.pipeline.Do(b.t.Context(), t, r)
	out := answer{status: resp.Status, header: resp.Header, raw: resp.Body, stream: resp.Stream}
	if len(resp.Body) > 0 {
		if err := json.Unmarshal(resp.Body, &out.body); err != nil {
			b.t.Fatalf("%s %s: body %q: %v", a.method, a.path, resp.Body, err)
		}
	}
	return out
}

// post sends a form to a token endpoint.
func (b *bench) post(host, path string, form url.Values, header map[string]string) answer {
	b.t.Helper()
	return b.do(b.login, ask{method: "POST", host: host, path: path, body: form.Encode(), header: header})
}

// secretForm is a good v2 form with a secret, changed by pairs of name and value; "-" removes.
func (b *bench) secretForm(changes ...string) url.Values {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {b.app.AppID}, "client_secret": {b.secret},
		"scope": {"https://vault.localhost:8443/.default"},
	}
	for i := 0; i < len(changes); i += 2 {
		if form.Set(changes[i], changes[i+1]); changes[i+1] == "-" {
			form.Del(changes[i])
		}
	}
	return form
}

// entries are the audit entries so far.
func (b *bench) entries() (out []audit.Entry) {
	b.t.Helper()
	err := b.db.Update(b.t.Context(), audit.NumberingLocks(), func(tx *db.Tx) error { _, err := audit.Number(tx); return err })
	if err != nil {
		b.t.Fatal(err)
	}
	err = b.db.View(b.t.Context(), func(tx *db.Tx) error {
		all, err := (&audit.Archive{}).Read(tx, 1, 1000)
		for _, p := range all {
			out = append(out, p.Entry)
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// lastEntry is the newest entry; the test fails if there is none.
func (b *bench) lastEntry() audit.Entry {
	b.t.Helper()
	all := b.entries()
	if len(all) == 0 {
		b.t.Fatal("no audit entry")
	}
	return all[len(all)-1]
}

func TestDeclarations(t *testing.T) {
	for _, table := range []*operation.Table{New(Options{}), NewManaged(Options{})} {
		for _, op := range table.Ops {
			if op.Access == operation.Authenticated {
				t.Errorf("%s wants a token, which no operation of this face takes", op.Name)
			}
		}
	}
}

func TestUnknownEndpoint(t *testing.T) {
	b := newBench(t)
	for _, a := range []ask{
		{method: "GET", host: "login.localhost:8443", path: "/"},
		{method: "POST", host: "login.localhost:8443", path: "/runs", body: "{}"},
		{method: "PATCH", host: "login.localhost:8443", path: "/runs"}, // known on the local socket alone
		{method: "GET", host: "login.localhost:8443", path: "/nothing", header: map[string]string{"Authorization": "Bearer x"}},
	} {
		if got := b.do(b.login, a); got.status != http.StatusNotFound || got.text("error") != "invalid_request" {
			t.Errorf("%s %s = %d %s, want 404 invalid_request", a.method, a.path, got.status, got.raw)
		}
	}
	if n := len(b.entries()); n != 0 {
		t.Errorf("strangers left %d audit entries, want none", n)
	}
}

// A known path says which methods it takes.
func TestWrongMethod(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct{ method, path, allow string }{
		{"GET", tokenV2, "POST"},
		{"GET", "//" + strings.ToUpper(testTenant) + "/OAUTH2/v2.0/token/", "POST"},
		{"PUT", tokenV1, "POST"},
		{"DELETE", tokenADFS, "POST"},
		{"GET", "/" + otherGUID + "/oauth2/v2.0/token", "POST"}, // before the tenant is looked at
		{"POST", "/" + testTenant + "/v2.0/.well-known/openid-configuration", "GET"},
		{"POST", "/common/discovery/instance", "GET"},
	} {
		for _, authorization := range []string{"", "Bearer x"} {
			got := b.do(b.login, ask{method: tt.method, host: loginHost, path: tt.path, header: map[string]string{
				"client-request-id": otherGUID, "Authorization": authorization,
			}})
			checkRefusal(t, tt.method+" "+tt.path, got, 900561, http.StatusMethodNotAllowed, "invalid_request")
			if got.header.Get("Allow") != tt.allow || !strings.Contains(got.text("error_description"), "only accepts "+tt.allow+" requests") {
				t.Errorf("%s %s: Allow %q, %s; want %s", tt.method, tt.path, got.header.Get("Allow"), got.raw, tt.allow)
			}
		}
	}
	if n := len(b.entries()); n != 0 {
		t.Errorf("strangers left %d audit entries, want none", n)
	}
	local := b.do(b.login, ask{method: "PATCH", host: loginHost, path: "/runs", local: true})
	if local.status != http.StatusMethodNotAllowed || local.header.Get("Allow") != "POST" {
		t.Errorf("PATCH of runs = %d %s, Allow %q; want 405 and POST", local.status, local.raw, local.header.Get("Allow"))
	}
}
