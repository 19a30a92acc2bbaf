package secrets

import (
	"errors"
	"fmt"

	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

// namesAtOnce is how many versions a step of a scrub looks for secrets of.
const namesAtOnce = 2000

// Scrub proves all that a vault holds: that no secret and no version of one is missing, forged or
// brought back. It is done in steps, each in whatever transaction: first the parts of the vault's set,
// then, by name, whether each version has a secret. It stops at the first that is not as we left it.
func (s *Store) Scrub(vaultID string) func(*db.Tx) (done bool, err error) {
	part, after := 0, ""
	return func(tx *db.Tx) (done bool, err error) {
		if part < db.VaultParts {
			part++
			return false, s.scrubPart(tx, vaultID, part-1)
		}
		after, err = s.noOrphans(tx, vaultID, after)
		return after == "", err
	}
}

func (s *Store) scrubPart(tx *db.Tx, vaultID string, part int) error {
	if err := tx.ProvePart(db.VaultRevision(vaultID), part); err != nil {
		return err
	}
	heads, err := s.heads(tx, vaultID, part)
	if err != nil {
		return err
	}
	const q = `
		SELECT ` + latestColumns + `
		FROM secrets h
		JOIN secret_versions v ON v.vault_id = h.vault_id AND v.name_key = h.name_key
		WHERE h.vault_id = $1 AND h.part = $2`
	rows, err := s.rows(tx, vaultID, q, vaultID, part)
	if err != nil {
		return err
	}
	versions := map[string][][]byte{}
	for _, r := range rows {
		versions[r.h.nameKey] = append(versions[r.h.nameKey], r.v.mac)
	}
	for _, h := range heads {
		if err := s.vouches(vaultID, h, versions[h.nameKey]); err != nil {
			return err
		}
	}
	return nil
}

// noOrphans looks for versions that no head vouches for, among the next of those whose names come after
// one. It returns the last name of them, or "" when there are no more.
func (s *Store) noOrphans(tx *db.Tx, vaultID, after string) (last string, err error) {
	from := `>`
	if after == "" {
		from = `>=`
	}
	q := `
		SELECT v.name_key, CASE WHEN h.name_key IS NULL THEN 1 ELSE 0 END FROM secret_versions v
		LEFT JOIN secrets h ON h.vault_id = v.vault_id AND h.name_key = v.name_key
		WHERE v.vault_id = $1 AND v.name_key ` + from + ` $2
		ORDER BY v.name_key
		LIMIT $3`
	n := 0
	err = tx.Query(func(row db.Scanner) error {
		var isOrphan bool
		err := row.Scan(&last, &isOrphan)
		if n++; err == nil && isOrphan {
			err = fmt.Errorf("secret %s in vault %s: there are versions that no head vouches for: %w", last, vaultID, envelope.ErrTampered)
		}
		return err
	}, q, vaultID, after, namesAtOnce)
	switch {
	case errors.Is(err, envelope.ErrTampered):
		return "", err
	case err != nil:
		return "", fmt.Errorf("look for versions without a secret: %w", err)
	case n < namesAtOnce:
		return "", nil
	}
	return last, nil
}

// heads reads the heads of a part and proves each.
func (s *Store) heads(tx *db.Tx, vaultID string, part int) ([]head, error) {
	var out []head
	const q = `SELECT ` + headColumns + ` FROM secrets h WHERE h.vault_id = $1 AND h.part = $2`
	err := tx.Query(func(row db.Scanner) error {
		var h head
		err := row.Scan(h.into()...)
		out = append(out, h)
		return err
	}, q, vaultID, part)
	if err != nil {
		return nil, fmt.Errorf("read the heads of secrets: %w", err)
	}
	for _, h := range out {
		if err := checkHead(tx, vaultID, h); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// vouches says whether the versions of a secret, given by the MACs of their rows, are those that
// its head vouches for.
func (s *Store) vouches(vaultID string, h head, macs [][]byte) error {
	want, err := s.Ring.OpenDigest(h.versions, versionSet(vaultID, h), h.generation, h.newest)
	if err != nil {
		return err
	}
	got, err := s.Ring.Fold(want.Empty(), 0, nil, macs)
	if err == nil && (!got.Equal(want) || int64(len(macs)) != h.newest) {
		err = fmt.Errorf("secret %s in vault %s: its versions are not those that its head vouches for: %w", h.nameKey, vaultID, envelope.ErrTampered)
	}
	return err
}
