package schedule

import (
	"testing"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/vaults"
)

// These tests let something happen between the time that a round of purges has read its list and
// the turn of what is second on it: what was brought back, and what only has the name of what was
// on the list, is not purged before its own date.

// meanwhile runs fn once, after the first request of a round.
func (s *Scheduler) meanwhile(fn func()) {
	s.Pipeline.Observe = func(string, string, int, time.Duration) {
		if run := fn; run != nil {
			fn = nil
			run()
		}
	}
}

func (s *Scheduler) deleteVault(t testing.TB, v vaults.Vault) {
	t.Helper()
	s.update(t, func(tx *db.Tx) error { _, err := s.Vaults.Delete(tx, v, "deleter"); return err })
}

func (s *Scheduler) recoverVault(t testing.TB, name string) (v vaults.Vault) {
	t.Helper()
	s.update(t, func(tx *db.Tx) (err error) {
		v, err = s.Vaults.Recover(tx, subscription, "rg", name, nil, "owner")
		return err
	})
	return v
}

// remakeVault purges a deleted vault, whatever its date is, and makes another one of its name.
func (s *Scheduler) remakeVault(t testing.TB, name string) vaults.Vault {
	t.Helper()
	s.update(t, func(tx *db.Tx) error {
		v, err := s.Vaults.GetDeleted(tx, subscription, "local", name)
		if err != nil {
			return err
		}
		return s.Vaults.PurgeVault(tx, v, false)
	})
	return s.newVault(t, name)
}

func TestSecretIsPurgedAtItsOwnDate(t *testing.T) {
	for name, meanwhile := range map[string]func(t *testing.T, s *Scheduler, v vaults.Vault){
		"recovered": func(t *testing.T, s *Scheduler, v vaults.Vault) {
			s.update(t, func(tx *db.Tx) error { _, err := s.Secrets.Recover(tx, v, "b"); return err })
		},
		"deleted again": func(t *testing.T, s *Scheduler, v vaults.Vault) {
			s.update(t, func(tx *db.Tx) error { _, err := s.Secrets.Recover(tx, v, "b"); return err })
			s.update(t, func(tx *db.Tx) error { _, err := s.Secrets.Delete(tx, v, "b"); return err })
		},
		"vault remade": func(t *testing.T, s *Scheduler, v vaults.Vault) {
			s.deleteVault(t, v)
			s.newDeletedSecret(t, s.remakeVault(t, v.Name), "b")
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *Scheduler) {
				v := s.newVault(t, "plain")
				s.newDeletedSecret(t, v, "a")
				s.newDeletedSecret(t, v, "b")
				s.setClock(t, 8*24*time.Hour)
				s.meanwhile(func() { meanwhile(t, s, v) })
				_ = s.purgeSecrets(t.Context()) // what it says of b does not matter here
				if got := s.left(t, `SELECT name FROM secrets ORDER BY name`); got != "b" {
					t.Errorf("secrets left: %q, want b", got)
				}
			})
		})
	}
}

func TestVaultIsPurgedAtItsOwnDate(t *testing.T) {
	for name, meanwhile := range map[string]func(t *testing.T, s *Scheduler, vault string){
		"recovered":     func(t *testing.T, s *Scheduler, vault string) { s.recoverVault(t, vault) },
		"deleted again": func(t *testing.T, s *Scheduler, vault string) { s.deleteVault(t, s.recoverVault(t, vault)) },
		"remade":        func(t *testing.T, s *Scheduler, vault string) { s.remakeVault(t, vault) },
		"remade and deleted": func(t *testing.T, s *Scheduler, vault string) {
			s.deleteVault(t, s.remakeVault(t, vault))
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *Scheduler) {
				for _, vault := range []string{"vault-a", "vault-b"} {
					s.deleteVault(t, s.newVault(t, vault))
				}
				s.setClock(t, 8*24*time.Hour)
				s.meanwhile(func() { meanwhile(t, s, s.left(t, `SELECT name FROM vaults`)) }) // which one is second is open
				_ = s.purgeVaults(t.Context())
				if got := s.left(t, `SELECT name FROM vaults`); got != "vault-a" && got != "vault-b" {
					t.Errorf("vaults left: %q, want the second one", got)
				}
			})
		})
	}
}
