package vaults

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/authz"
	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/identity"
	"strongroom/internal/keyring"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	tenant       = "11111111-2222-4333-8444-555555555555"
	subscription = "22222222-2222-4333-8444-555555555555"
	creator      = "33333333-2222-4333-8444-555555555555"
)

func newStore(t testing.TB) *Store {
	t.Helper()
	ring := dbtest.Ring(t)
	rights := &authz.Store{Tenant: tenant, Identity: &identity.Store{Ring: ring, Tenant: tenant}}
	return &Store{Ring: ring, Tenant: tenant, Authz: rights}
}

// each runs a test on both engines with a store, a resource group "rg" in West Europe, and a
// clock that can be set.
func each(t *testing.T, test func(t *testing.T, s *Store, d *db.DB)) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		d, s := dbtest.Open(t, o), newStore(t)
		update(t, d, func(tx *db.Tx) error {
			if _, _, err := s.PutGroup(tx, ResourceGroup{Subscription: subscription, Name: "rg", Location: "westeurope"}); err != nil {
				return err
			}
			return errors.Join(tx.SetMeta("test_clock", "1"), keyring.Create(tx, tenant, dbtest.Roots(t).Newest(), nil))
		})
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		test(t, s, dbtest.Open(t, o))
	})
}

// setClock puts the database's clock ahead of the host's.
func setClock(t testing.TB, d *db.DB, ahead time.Duration) {
	t.Helper()
	update(t, d, func(tx *db.Tx) error {
		return tx.SetMeta("clock_offset_us", strconv.FormatInt(ahead.Microseconds(), 10))
	})
}

func tryUpdate(t testing.TB, d *db.DB, fn func(*db.Tx) error) error {
	t.Helper()
	return d.Update(t.Context(), []string{db.Authorisation, db.Directory}, fn)
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

// standard is the least that a new vault needs.
func standard() Change {
	return Change{
		Location: new("West Europe"), TenantID: new(tenant), SKUFamily: new("A"), SKUName: new("standard"), RBAC: new(true),
	}
}

func tryCreate(t testing.TB, s *Store, d *db.DB, name string, c Change) (v Vault, err error) {
	t.Helper()
	id := NewID()
	err = tryUpdate(t, d, func(tx *db.Tx) (err error) {
		v, err = s.Create(tx, id, subscription, "rg", name, c, creator)
		return err
	})
	return v, err
}

func create(t testing.TB, s *Store, d *db.DB, name string, c Change) Vault {
	t.Helper()
	v, err := tryCreate(t, s, d, name, c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func remove(t testing.TB, s *Store, d *db.DB, v Vault) (out Vault) {
	t.Helper()
	update(t, d, func(tx *db.Tx) (err error) {
		out, err = s.Delete(tx, v, "deleter")
		return err
	})
	return out
}

func wantRefusal(t testing.TB, err error, kind apierr.Kind, code string) {
	t.Helper()
	refusal, ok := apierr.As(err)
	if !ok || refusal.Kind != kind || refusal.Code != code {
		t.Errorf("got error %v, want a refusal of kind %d with code %s", err, kind, code)
	}
}
