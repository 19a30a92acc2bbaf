package keyring_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/envelope"
	"strongroom/internal/keyring"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const tenant = dbtest.Tenant

func update(t testing.TB, d *db.DB, fn func(*db.Tx) error) {
	t.Helper()
	if err := d.Update(t.Context(), keyring.ChangeLocks(), fn); err != nil {
		t.Fatal(err)
	}
}

// newRootKey draws a root key.
func newRootKey(t testing.TB) envelope.RootKey {
	t.Helper()
	path := t.TempDir() + "/root.key"
	if err := envelope.CreateRootKeyFile(path); err != nil {
		t.Fatal(err)
	}
	keys, err := envelope.OpenRootKeyFile(path, "", true)
	if err != nil {
		t.Fatal(err)
	}
	return keys[0]
}

// A change wraps the whole keyring by the new key; with the old one it does not open any more.
func TestChange(t *testing.T) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		first, second := newRootKey(t), newRootKey(t)
		roots := envelope.NewRootKeys(first)
		ring, keys, err := envelope.NewRing(roots, "deployment")
		if err != nil {
			t.Fatal(err)
		}
		d, err := db.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		d.Bind(tenant, ring)
		update(t, d, func(tx *db.Tx) error { return keyring.Create(tx, tenant, first.ID(), keys) })

		lacks := d.Update(t.Context(), keyring.ChangeLocks(), func(tx *db.Tx) error { return keyring.Change(tx, tenant, ring, second.ID()) })
		if lacks == nil {
			t.Error("a change to a key that is not at hand succeeds")
		}
		roots.Add(second)
		update(t, d, func(tx *db.Tx) error { return keyring.Change(tx, tenant, ring, second.ID()) })
		err = d.View(t.Context(), func(tx *db.Tx) error {
			id, err := keyring.Wrapping(tx)
			wrapped, wrappedErr := keyring.Wrapped(tx)
			pending, pendingErr := keyring.Pending(tx)
			if err != nil || wrappedErr != nil || pendingErr != nil || id != second.ID() || wrapped[id] != len(keys) || len(wrapped) != 1 || !pending {
				t.Errorf("wrapping %s, wrapped %v, pending %v: %v, %v, %v", id, wrapped, pending, err, wrappedErr, pendingErr)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.Open(t.Context(), d, envelope.NewRootKeys(second), "deployment"); err != nil {
			t.Errorf("with the new key: %v", err)
		}
		if _, err := keyring.Open(t.Context(), d, envelope.NewRootKeys(first), "deployment"); err == nil {
			t.Error("with the old key alone the keyring opens")
		}
		prove := func(tx *db.Tx) error { return keyring.Prove(tx, roots, "deployment") }
		if err := d.View(t.Context(), prove); err != nil {
			t.Errorf("proof of the keyring: %v", err)
		}
		update(t, d, func(tx *db.Tx) error {
			_, err := tx.Exec(`DELETE FROM keyring WHERE ordinal = 1`)
			return err
		})
		if err := d.View(t.Context(), prove); !errors.Is(err, envelope.ErrTampered) {
			t.Errorf("proof of a keyring that lacks a key: %v, want %v", err, envelope.ErrTampered)
		}
	})
}

func TestHolders(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		update(t, d, func(tx *db.Tx) error { return keyring.Hold(tx, "host/1", []string{"aa", "bb"}) })
		update(t, d, func(tx *db.Tx) error { return keyring.Hold(tx, "host/2", []string{"aa"}) })
		update(t, d, func(tx *db.Tx) error { // one that fell silent
			_, _, err := tx.Lease("node/host/3", "host/3", -time.Second)
			return err
		})
		update(t, d, keyring.Forget)
		err := d.View(t.Context(), func(tx *db.Tx) error {
			nodes, byKey, err := keyring.Holders(tx)
			if !slices.Equal(nodes, []string{"host/1", "host/2"}) || !slices.Equal(byKey["aa"], nodes) || !slices.Equal(byKey["bb"], []string{"host/1"}) {
				t.Errorf("nodes %q, by key %q", nodes, byKey)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
