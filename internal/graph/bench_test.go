package graph

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
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
	testTenant = "11111111-2222-4333-8444-555555555555"
	otherGUID  = "77777777-2222-4333-8444-555555555555"
)

// A bench is a deployment with an empty directory. as is who asks: nil asks with token.
type bench struct {
	t        *testing.T
	db       *db.DB
	store    *identity.Store
	rights   *authz.Store
	issuer   *identity.Issuer
	family   resource.Family
	table    *operation.Table
	pipeline *operation.Pipeline
	as       *identity.Caller
	token    string
}

func newBench(t *testing.T) *bench {
	d := dbtest.Open(t, dbtest.SQLiteOptions(t))
	families := resource.Families{resource.NewFamily("default", "localhost", 8443)}
	store := &identity.Store{Ring: dbtest.Ring(t), Tenant: testTenant}
	issuer := identity.NewIssuer(store, time.Hour, 30*24*time.Hour)
	if err := issuer.EnsureSigningKey(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	rights := &authz.Store{Tenant: testTenant, Identity: store}
	return &bench{
		t: t, db: d, store: store, rights: rights, issuer: issuer, family: families[0],
		table: New(Options{Store: store, Tenant: testTenant}), as: operation.LocalOwner(),
		pipeline: &operation.Pipeline{
			DB: d, Authz: rights, Issuer: issuer, Families: families, Counter: &audit.Counter{},
			Log: slog.New(slog.DiscardHandler), Node: "test", Observe: func(string, string, int, time.Duration) {}, OnTampered: func() {},
		},
	}
}

type answer struct {
	status int
	header http.Header
	body   map[string]any
	raw    []byte
}

func (a answer) text(name string) string { s, _ := a.body[name].(string); return s }

// errorCode is the code of the envelope.
func (a answer) errorCode() string {
	e, _ := a.body["error"].(map[string]any)
	code, _ := e["code"].(string)
	return code
}

// values are the objects of a list.
func (a answer) values() (out []map[string]any) {
	all, _ := a.body["value"].([]any)
	for _, v := range all {
		out = append(out, v.(map[string]any))
	}
	return out
}

// ids are the ids of a list's objects.
func (a answer) ids() string {
	var out []string
	for _, v := range a.values() {
		out = append(out, v["id"].(string))
	}
	return strings.Join(out, " ")
}

// do sends a request to a path below /v1.0, with the query if there is one.
func (b *bench) do(method, path, body string) answer {
	b.t.Helper()
	path, query, _ := strings.Cut(path, "?")
	h := http.Header{}
	if b.token != "" {
		h.Set("Authorization", "Bearer "+b.token)
	}
	resp := b.pipeline.Do(b.t.Context(), b.table, &operation.Request{
		Method: method, Path: "/v1.0" + path, Query: query, Header: h, Body: strings.NewReader(body),
		Host: b.family.GraphHost(), Caller: b.as,
	})
	out := answer{status: resp.Status, header: resp.Header, raw: resp.Body}
	if len(resp.Body) > 0 {
		if err := json.Unmarshal(resp.Body, &out.body); err != nil {
			b.t.Fatalf("%s %s: body %q: %v", method, path, resp.Body, err)
		}
	}
	return out
}

// want sends a request and fails the test if the answer has another status.
func (b *bench) want(status int, method, path, body string) answer {
	b.t.Helper()
	got := b.do(method, path, body)
	if got.status != status {
		b.t.Fatalf("%s %s %s = %d %s, want %d", method, path, body, got.status, got.raw, status)
	}
	return got
}

// program makes an application with a service principal.
func (b *bench) program(name string) (app, principal answer) {
	b.t.Helper()
	app = b.want(201, "POST", "/applications", fmt.Sprintf(`{"displayName":%q}`, name))
	return app, b.want(201, "POST", "/servicePrincipals", fmt.Sprintf(`{"appId":%q}`, app.text("appId")))
}

func (b *bench) update(fn func(tx *db.Tx) error) {
	b.t.Helper()
	if err := b.db.Update(b.t.Context(), []string{db.Authorisation}, fn); err != nil {
		b.t.Fatal(err)
	}
}

// signIn makes further requests come from a principal, by token.
func (b *bench) signIn(objectID string) {
	b.t.Helper()
	err := b.db.View(b.t.Context(), func(tx *db.Tx) error {
		p, err := b.store.Principal(tx, objectID)
		if err != nil {
			return err
		}
		token, _, err := b.issuer.Issue(tx, identity.Grant{
			Principal: p, Method: identity.AsManaged, Audience: "https://graph.microsoft.com/", Family: b.family,
		})
		b.as, b.token = nil, string(token.Reveal())
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) assign(roleName, objectID string) {
	b.t.Helper()
	role := map[string]string{
		"Owner": authz.RoleOwner, "Reader": "acdd72a7-3385-48ef-bd42-f606fba81ae7", "Contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c",
	}[roleName]
	b.update(func(tx *db.Tx) error {
		_, _, err := b.rights.Assign(tx, authz.Assignment{ID: db.NewGUID(), Scope: "/", RoleDefinitionID: role, PrincipalID: objectID}, identity.LocalOwnerID)
		return err
	})
}
