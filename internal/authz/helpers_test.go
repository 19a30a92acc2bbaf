package authz

import (
	"strings"
	"testing"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/identity"
	"strongroom/internal/resource"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	tenant       = "11111111-2222-4333-8444-555555555555"
	subscription = "22222222-2222-4333-8444-555555555555"
	creator      = "33333333-2222-4333-8444-555555555555"
	secretsUser  = "4633458b-17de-408a-b874-0445c86b69e6"
	reader       = "21090545-7ca7-4776-b22c-e363652d74d2" // Key Vault Reader
	getSecret    = "Microsoft.KeyVault/vaults/secrets/getSecret/action"
)

var vault = resource.VaultScope(subscription, "rg1", "vault1")

func newStore(t testing.TB) *Store {
	t.Helper()
	ring := dbtest.Ring(t)
	return &Store{Tenant: tenant, Identity: &identity.Store{Ring: ring, Tenant: tenant}}
}

func tryUpdate(t testing.TB, d *db.DB, fn func(*db.Tx) error) error {
	t.Helper()
	return d.Update(t.Context(), []string{db.Authorisation}, fn)
}

func update(t testing.TB, d *db.DB, fn func(*db.Tx) error) {
	t.Helper()
	if err := tryUpdate(t, d, fn); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, d *db.DB, fn func(*db.Tx) error) {
	t.Helper()
	if err := d.View(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// newPrincipal makes an application's service principal and returns its object id.
func newPrincipal(t testing.TB, s *Store, d *db.DB) (id string) {
	t.Helper()
	update(t, d, func(tx *db.Tx) error {
		app, err := s.Identity.CreateApplication(tx, "app")
		if err != nil {
			return err
		}
		p, err := s.Identity.CreateServicePrincipal(tx, app.AppID)
		id = p.ObjectID
		return err
	})
	return id
}

func newGroup(t testing.TB, s *Store, d *db.DB, members ...string) (id string) {
	t.Helper()
	update(t, d, func(tx *db.Tx) error {
		g, err := s.Identity.CreateGroup(tx, "group")
		if err != nil {
			return err
		}
		id = g.ObjectID
		for _, m := range members {
			if err := s.Identity.AddMember(tx, id, m); err != nil {
				return err
			}
		}
		return nil
	})
	return id
}

func assign(t testing.TB, s *Store, d *db.DB, principal, role, scope string) (a Assignment) {
	t.Helper()
	update(t, d, func(tx *db.Tx) (err error) {
		a, _, err = s.Assign(tx, Assignment{ID: db.NewGUID(), Scope: scope, RoleDefinitionID: role, PrincipalID: principal}, creator)
		return err
	})
	return a
}

// decide asks the snapshot of a new read.
func decide(t testing.TB, s *Store, d *db.DB, principal string, need Need) (out Decision) {
	t.Helper()
	view(t, d, func(tx *db.Tx) error {
		snap, err := s.Current(tx)
		if err != nil {
			return err
		}
		out = snap.Decide(principal, need)
		return nil
	})
	return out
}

func mayRead(t testing.TB, s *Store, d *db.DB, principal string, scope resource.Scope) bool {
	t.Helper()
	return decide(t, s, d, principal, Need{Action: getSecret, Data: true, Scope: scope}).Allowed
}

func wantRefusal(t testing.TB, err error, kind apierr.Kind, code string) {
	t.Helper()
	refusal, ok := apierr.As(err)
	if !ok || refusal.Kind != kind || refusal.Code != code {
		t.Errorf("got error %v, want a refusal of kind %d with code %s", err, kind, code)
	}
}

// roleByName finds a built-in role by its name, in any letter case.
func roleByName(name string) (*Role, bool) {
	for i := range BuiltIn {
		if strings.EqualFold(BuiltIn[i].Name, name) {
			return &BuiltIn[i], true
		}
	}
	return nil, false
}
