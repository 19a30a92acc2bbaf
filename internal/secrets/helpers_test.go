package secrets

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/authz"
	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/envelope"
	"strongroom/internal/identity"
	"strongroom/internal/keyring"
	"strongroom/internal/vaults"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	tenant            = "11111111-2222-4333-8444-555555555555"
	subscription      = "22222222-2222-4333-8444-555555555555"
	otherSubscription = "33333333-2222-4333-8444-555555555555"
)

// A fixture is a store and a database with a vault.
type fixture struct {
	*Store
	t      testing.TB
	d      *db.DB
	o      db.Options
	vaults *vaults.Store
	vault  vaults.Vault
}

// each runs a test on both engines with a vault that keeps what is deleted for seven days, and a
// clock that can be set.
func each(t *testing.T, test func(t *testing.T, f *fixture)) {
	ring := dbtest.Ring(t)
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		d, err := db.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		d.Bind(dbtest.Tenant, dbtest.Ring(t))
		err = d.Update(t.Context(), nil, func(tx *db.Tx) error {
			return errors.Join(tx.SetMeta("test_clock", "1"), keyring.Create(tx, tenant, dbtest.Roots(t).Newest(), nil))
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		rights := &authz.Store{Tenant: tenant, Identity: &identity.Store{Ring: ring, Tenant: tenant}}
		f := &fixture{
			Store: &Store{Ring: ring, Tenant: tenant}, t: t, d: dbtest.Open(t, o), o: o,
			vaults: &vaults.Store{Ring: ring, Tenant: tenant, Authz: rights},
		}
		f.vaults.Contents = []func(*db.Tx, string) error{f.PurgeAll}
		f.vault = f.newVault("vault1", subscription, "westeurope", false)
		test(t, f)
	})
}

func (f *fixture) newVault(name, sub, location string, protected bool) (v vaults.Vault) {
	f.t.Helper()
	c := vaults.Change{
		Location: &location, TenantID: new(tenant), SKUName: new("standard"), RBAC: new(true), RetentionDays: new(7),
	}
	if protected {
		c.PurgeProtection = &protected
	}
	id := vaults.NewID()
	f.update(func(tx *db.Tx) (err error) {
		if _, _, err := f.vaults.PutGroup(tx, vaults.ResourceGroup{Subscription: sub, Name: "rg", Location: "local"}); err != nil {
			return err
		}
		v, err = f.vaults.Create(tx, id, sub, "rg", name, c, "creator")
		return err
	})
	return v
}

func (f *fixture) tryUpdate(fn func(*db.Tx) error) error {
	return f.d.Update(f.t.Context(), []string{db.Authorisation, db.Directory}, fn)
}

func (f *fixture) update(fn func(*db.Tx) error) {
	f.t.Helper()
	if err := f.tryUpdate(fn); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) view(fn func(*db.Tx) error) {
	f.t.Helper()
	if err := f.d.View(f.t.Context(), fn); err != nil {
		f.t.Fatal(err)
	}
}

// setClock puts the database's clock ahead of the host's.
func (f *fixture) setClock(ahead time.Duration) {
	f.t.Helper()
	f.update(func(tx *db.Tx) error {
		return tx.SetMeta("clock_offset_us", strconv.FormatInt(ahead.Microseconds(), 10))
	})
}

func draft(value string) Draft { return Draft{Value: envelope.NewValue([]byte(value))} }

// set stores a new version.
func (f *fixture) set(name, value string) Secret {
	f.t.Helper()
	v, err := f.trySet(f.vault, name, draft(value))
	if err != nil {
		f.t.Fatal(err)
	}
	return v
}

func (f *fixture) trySet(vault vaults.Vault, name string, d Draft) (v Secret, err error) {
	version := NewVersion()
	err = f.tryUpdate(func(tx *db.Tx) (err error) {
		v, err = f.Set(tx, vault, name, version, d)
		return err
	})
	return v, err
}

// get returns the plaintext of a version, the latest with "".
func (f *fixture) get(name, version string) (value string, err error) {
	err = f.d.View(f.t.Context(), func(tx *db.Tx) error {
		v, err := f.Get(tx, f.vault, name, version)
		if err == nil {
			value = string(v.Value.Reveal())
		}
		return err
	})
	return value, err
}

// wantValue checks the plaintext of a version, the latest with "".
func (f *fixture) wantValue(name, version, want string) {
	f.t.Helper()
	if got, err := f.get(name, version); err != nil || got != want {
		f.t.Errorf("get %s/%s = %q, %v, want %q", name, version, got, err, want)
	}
}

func (f *fixture) tryPatch(name, version string, p Patch) (v Secret, err error) {
	err = f.tryUpdate(func(tx *db.Tx) (err error) {
		v, err = f.Update(tx, f.vault, name, version, p)
		return err
	})
	return v, err
}

func (f *fixture) patch(name, version string, p Patch) Secret {
	f.t.Helper()
	v, err := f.tryPatch(name, version, p)
	if err != nil {
		f.t.Fatal(err)
	}
	return v
}

func (f *fixture) tryRemove(vault vaults.Vault, name string) (out Deleted, err error) {
	err = f.tryUpdate(func(tx *db.Tx) (err error) {
		out, err = f.Delete(tx, vault, name)
		return err
	})
	return out, err
}

func (f *fixture) remove(name string) Deleted {
	f.t.Helper()
	out, err := f.tryRemove(f.vault, name)
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

func (f *fixture) tryRecover(name string) (out Secret, err error) {
	err = f.tryUpdate(func(tx *db.Tx) (err error) {
		out, err = f.Recover(tx, f.vault, name)
		return err
	})
	return out, err
}

func (f *fixture) tryPurge(vault vaults.Vault, name string) error {
	return f.tryUpdate(func(tx *db.Tx) error { return f.Purge(tx, vault, name, false) })
}

func (f *fixture) tryBackup(name string) (blob []byte, err error) {
	err = f.d.View(f.t.Context(), func(tx *db.Tx) (err error) {
		blob, err = f.Backup(tx, f.vault, name)
		return err
	})
	return blob, err
}

func (f *fixture) backup(name string) []byte {
	f.t.Helper()
	blob, err := f.tryBackup(name)
	if err != nil {
		f.t.Fatal(err)
	}
	return blob
}

func (f *fixture) tryRestore(vault vaults.Vault, blob []byte) (out Secret, err error) {
	a, err := f.OpenArchive(blob)
	if err != nil {
		return Secret{}, err
	}
	err = f.tryUpdate(func(tx *db.Tx) (err error) {
		out, err = f.Restore(tx, vault, a, "https://vault/secrets/"+a.Name)
		return err
	})
	return out, err
}

func wantRefusal(t testing.TB, err error, kind apierr.Kind, code string) {
	t.Helper()
	refusal, ok := apierr.As(err)
	if !ok || refusal.Kind != kind || refusal.Code != code {
		t.Errorf("got error %v, want a refusal of kind %d with code %s", err, kind, code)
	}
}

// wantNoSecret checks that a name, or a version of it, is not there.
func wantNoSecret(t testing.TB, err error) {
	t.Helper()
	wantRefusal(t, err, apierr.NotFoundKind, "SecretNotFound")
}
