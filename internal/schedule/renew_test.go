package schedule

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/envelope"
	"strongroom/internal/keyring"
	"strongroom/internal/secrets"
	"strongroom/internal/vaults"
)

func (s *Scheduler) setSecret(t testing.TB, v vaults.Vault, name, value string) {
	t.Helper()
	s.update(t, func(tx *db.Tx) error {
		fresh, err := s.Vaults.ByID(tx, v.ID)
		if err == nil {
			_, err = s.Secrets.Set(tx, fresh, name, secrets.NewVersion(), secrets.Draft{Value: envelope.NewValue([]byte(value))})
		}
		return err
	})
}

// values reads all versions of a secret, the oldest first, and proves the vault.
func (s *Scheduler) values(t testing.TB, v vaults.Vault, name string) (out []string) {
	t.Helper()
	err := s.DB.View(t.Context(), func(tx *db.Tx) error {
		fresh, err := s.Vaults.ByID(tx, v.ID)
		if err != nil {
			return err
		}
		versions, err := s.Secrets.Versions(tx, fresh, name, secrets.Page{Limit: 100})
		if err != nil {
			return err
		}
		slices.SortFunc(versions, func(a, b secrets.Secret) int { return a.Created.Compare(b.Created) })
		for _, version := range versions {
			got, err := s.Secrets.Get(tx, fresh, name, version.Version)
			if err != nil {
				return err
			}
			out = append(out, string(got.Value.Reveal()))
		}
		scrub, done := s.Secrets.Scrub(v.ID), false
		for !done && err == nil {
			done, err = scrub(tx)
		}
		return err
	})
	if err != nil {
		t.Errorf("read %s of %s: %v", name, v.Name, err)
	}
	return out
}

// keys says how many data keys a vault has, and by which root keys they are wrapped.
func (s *Scheduler) keys(t testing.TB, v vaults.Vault) (roots []string) {
	t.Helper()
	err := s.DB.View(t.Context(), func(tx *db.Tx) error {
		fresh, err := s.Vaults.ByID(tx, v.ID)
		if err == nil {
			roots, err = envelope.DataKeyRoots(fresh.DataKeySealed)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return roots
}

func (s *Scheduler) pending(t testing.TB) (pending bool) {
	t.Helper()
	err := s.DB.View(t.Context(), func(tx *db.Tx) (err error) {
		pending, err = keyring.Pending(tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pending
}

// sealedValues are the stored ciphertexts.
func (s *Scheduler) sealedValues(t testing.TB) (out map[string]bool) {
	t.Helper()
	out = map[string]bool{}
	err := s.DB.View(t.Context(), func(tx *db.Tx) error {
		return tx.Query(func(row db.Scanner) error {
			var b []byte
			err := row.Scan(&b)
			out[string(b)] = true
			return err
		}, `SELECT value_sealed FROM secret_versions`)
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDataKeyIsRotated(t *testing.T) {
	each(t, func(t *testing.T, s *Scheduler) {
		v, other := s.newVault(t, "vault-a"), s.newVault(t, "vault-b")
		for n := range 40 { // more than a transaction seals anew
			s.setSecret(t, v, "many", fmt.Sprint("value-", n))
		}
		s.setSecret(t, v, "gone", "deleted")
		s.update(t, func(tx *db.Tx) error { _, err := s.Secrets.Delete(tx, v, "gone"); return err })
		s.setSecret(t, other, "x", "other")
		before, want := s.sealedValues(t), s.values(t, v, "many")
		if len(want) != 40 {
			t.Fatalf("%d values, want 40", len(want))
		}
		rotate := func(tx *db.Tx) error {
			fresh, err := s.Vaults.ByID(tx, v.ID)
			if err == nil {
				_, err = s.Vaults.RotateDataKey(tx, fresh, "owner")
			}
			return err
		}
		s.update(t, rotate)
		s.setSecret(t, v, "many", "value-40") // by the new key, while the old one is there
		if got := s.values(t, v, "many"); !slices.Equal(got, append(slices.Clone(want), "value-40")) || len(s.keys(t, v)) != 2 {
			t.Errorf("under way: %d values, %d keys", len(got), len(s.keys(t, v)))
		}
		err := s.DB.Update(t.Context(), keyring.ChangeLocks(), rotate)
		if refusal, ok := apierr.As(err); !ok || refusal.Code != "KeyRotationUnderWay" {
			t.Errorf("a second rotation meanwhile: got %v, want a refusal", err)
		}
		if err := s.RenewKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.values(t, v, "many"); !slices.Equal(got, append(want, "value-40")) || len(s.keys(t, v)) != 1 || s.pending(t) {
			t.Errorf("afterwards: %d values, %d keys, pending %v", len(got), len(s.keys(t, v)), s.pending(t))
		}
		same := 0
		for sealed := range s.sealedValues(t) {
			if before[sealed] {
				same++
			}
		}
		if same != 1 {
			t.Errorf("%d stored values are as before, want that of the other vault alone", same)
		}
		s.update(t, func(tx *db.Tx) error {
			fresh, err := s.Vaults.ByID(tx, v.ID)
			if err == nil {
				_, err = s.Secrets.Recover(tx, fresh, "gone")
			}
			return err
		})
		if got := s.values(t, v, "gone"); !slices.Equal(got, []string{"deleted"}) {
			t.Errorf("the deleted secret reads %q", got)
		}
	})
}

func TestRootKeyIsChanged(t *testing.T) {
	each(t, func(t *testing.T, s *Scheduler) {
		var all []vaults.Vault
		for n := range rewrapAtOnce + 3 {
			v := s.newVault(t, fmt.Sprint("vault-", n))
			s.setSecret(t, v, "a", v.Name)
			all = append(all, v)
		}
		s.deleteVault(t, all[0])
		next := addRootKey(t)
		change := func(tx *db.Tx) error { return keyring.Change(tx, tenant, dbtest.Ring(t), next) }
		if err := s.DB.Update(t.Context(), keyring.ChangeLocks(), change); err != nil {
			t.Fatal(err)
		}
		fresh := s.newVault(t, "fresh")
		if got := s.keys(t, fresh); !slices.Equal(got, []string{next}) {
			t.Errorf("a vault made meanwhile is wrapped by %q, want %s", got, next)
		}
		if err := s.RenewKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, v := range append(all, fresh) {
			if got := s.keys(t, v); !slices.Equal(got, []string{next}) {
				t.Fatalf("%s is wrapped by %q, want %s", v.Name, got, next)
			}
		}
		if got := s.values(t, all[1], "a"); !slices.Equal(got, []string{all[1].Name}) || s.pending(t) {
			t.Errorf("afterwards: %q, pending %v", got, s.pending(t))
		}
		err := s.DB.View(t.Context(), func(tx *db.Tx) error {
			wrapped, err := keyring.Wrapped(tx)
			if len(wrapped) != 0 { // this keyring is not in the database
				t.Errorf("ring keys wrapped: %v", wrapped)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// addRootKey gives the test's deployment another root key.
func addRootKey(t testing.TB) (id string) {
	t.Helper()
	path := t.TempDir() + "/root.key"
	if err := envelope.CreateRootKeyFile(path); err != nil {
		t.Fatal(err)
	}
	keys, err := envelope.OpenRootKeyFile(path, "", true)
	if err != nil {
		t.Fatal(err)
	}
	dbtest.Roots(t).Add(keys...)
	return keys[0].ID()
}

// An old row that is put back does not make an old root key wrap again.
func TestWrappingKeyIsNotReplayed(t *testing.T) {
	each(t, func(t *testing.T, s *Scheduler) {
		var mac []byte
		var value string
		err := s.DB.View(t.Context(), func(tx *db.Tx) error {
			return tx.QueryRow(`SELECT value, row_mac FROM settings WHERE name = 'root_key_id'`).Scan(&value, &mac)
		})
		if err != nil {
			t.Fatal(err)
		}
		next := addRootKey(t)
		s.update(t, func(tx *db.Tx) error { return keyring.Change(tx, tenant, dbtest.Ring(t), next) })
		s.update(t, func(tx *db.Tx) error {
			_, err := tx.Exec(`UPDATE settings SET value = $1, row_mac = $2 WHERE name = 'root_key_id'`, value, mac)
			return err
		})
		err = s.DB.View(t.Context(), func(tx *db.Tx) error { _, err := keyring.Wrapping(tx); return err })
		if err == nil || !strings.Contains(err.Error(), "settings") {
			t.Errorf("got %v, want the change to be noticed", err)
		}
	})
}
