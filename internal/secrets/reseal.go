package secrets

import (
	"fmt"

	"strongroom/internal/db"
	"strongroom/internal/vaults"
)

// A Mark is a place in the versions of a vault, in the order of their keys. The zero Mark lies
// before the first.
type Mark struct {
	nameKey string
	ordinal int64
}

// resealAtOnce bounds the versions that one transaction seals anew: at 25 KB each, 400 KB.
const resealAtOnce = 16

// ResealLocks are the locks of an Update that calls Reseal.
func ResealLocks(vaultID string) []string { return []string{db.VaultRevision(vaultID)} }

// Reseal seals by the newest data key some of the versions behind a mark that an older one sealed. It
// returns the mark to go on from; done when there are none left. The versions are the same
// afterwards, their dates too: nothing of them has changed for anybody.
func (s *Store) Reseal(tx *db.Tx, vault vaults.Vault, from Mark) (next Mark, done bool, err error) {
	keys, err := s.Ring.OpenDataKeys(vault.ID, vault.DataKeySealed)
	if err != nil {
		return from, false, fmt.Errorf("open the data keys of vault %s: %w", vault.ID, err)
	}
	const q = `
		SELECT v.name_key, v.version, v.ordinal, v.value_sealed FROM secret_versions v
		WHERE v.vault_id = $1 AND (v.name_key > $2 OR v.name_key = $2 AND v.ordinal > $3)
		ORDER BY v.name_key, v.ordinal
		LIMIT $4`
	type found struct {
		Mark
		version string
	}
	var old []found
	n := 0
	next = from
	err = tx.Query(func(row db.Scanner) error {
		var f found
		var sealed []byte
		err := row.Scan(&f.nameKey, &f.version, &f.ordinal, &sealed)
		n, next = n+1, f.Mark
		if !keys.SealedByNewest(sealed) {
			old = append(old, f)
		}
		return err
	}, q, vault.ID, from.nameKey, from.ordinal, resealAtOnce)
	if err != nil {
		return from, false, fmt.Errorf("find versions to seal anew: %w", err)
	}
	for _, f := range old {
		if err := s.reseal(tx, vault, f.nameKey, f.version); err != nil {
			return from, false, err
		}
	}
	return next, n < resealAtOnce, nil
}

// reseal goes the way of an update, deleted secrets included.
func (s *Store) reseal(tx *db.Tx, vault vaults.Vault, nameKey, version string) error {
	h, v, err := s.anyVersion(tx, vault.ID, nameKey, version)
	if err != nil {
		return err
	}
	if err := s.open(vault, nameKey, &v); err != nil {
		return err
	}
	if err := s.seal(vault, nameKey, &v); err != nil {
		return err
	}
	return s.replaceVersion(tx, vault.ID, h, v)
}
