package secrets

import (
	"errors"
	"fmt"

	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

// scrubAtOnce is how many secrets a step of a scrub proves, with all their versions.
const scrubAtOnce = 500

// Scrub proves all that a vault holds: that no secret and no version of one is missing, forged or
// brought back. It is done in steps, each in whatever transaction: first the parts of the vault's set,
// then the rows by name. It stops at the first that is not as we left it.
func (s *Store) Scrub(vaultID string) func(*db.Tx) (done bool, err error) {
	part, after := 0, ""
	return func(tx *db.Tx) (bool, error) {
		if part < db.VaultParts {
			err := tx.ProvePart(db.VaultRevision(vaultID), part)
			part++
			return false, err
		}
		next, err := s.scrubRows(tx, vaultID, after)
		after = next
		return next == "", err
	}
}

// scrubRows proves the secrets whose names come after one, and their versions. It returns the last
// name of them, or "" when there are no more.
func (s *Store) scrubRows(tx *db.Tx, vaultID, after string) (last string, err error) {
	heads, err := s.heads(tx, vaultID, after)
	if err != nil {
		return "", err
	}
	if len(heads) == scrubAtOnce {
		last = heads[len(heads)-1].nameKey
	}
	q := `
		SELECT ` + latestColumns + `
		FROM secrets h
		JOIN secret_versions v ON v.vault_id = h.vault_id AND v.name_key = h.name_key
		WHERE h.vault_id = $1 AND ` + from("h.name_key", after) + upTo("h.name_key", last)
	rows, err := s.rows(tx, vaultID, q, vaultID, after, last)
	if err != nil {
		return "", err
	}
	versions := map[string][][]byte{}
	for _, r := range rows {
		versions[r.h.nameKey] = append(versions[r.h.nameKey], r.v.mac)
	}
	for _, h := range heads {
		if err := s.vouches(vaultID, h, versions[h.nameKey]); err != nil {
			return "", err
		}
	}
	return last, s.noOrphans(tx, vaultID, after, last)
}

// from and upTo bound a query to names after $2 and up to $3. At the start, and at the end, no name
// whatever is left out.
func from(column, after string) string {
	if after == "" {
		return column + ` >= $2`
	}
	return column + ` > $2`
}

func upTo(column, last string) string {
	if last == "" {
		return ` AND $3 = ''`
	}
	return ` AND ` + column + ` <= $3`
}

// noOrphans looks for versions that no head vouches for, of names after one and up to another.
func (s *Store) noOrphans(tx *db.Tx, vaultID, after, last string) error {
	q := `
		SELECT v.name_key FROM secret_versions v
		LEFT JOIN secrets h ON h.vault_id = v.vault_id AND h.name_key = v.name_key
		WHERE v.vault_id = $1 AND ` + from("v.name_key", after) + upTo("v.name_key", last) + ` AND h.name_key IS NULL
		LIMIT 1`
	var orphan string
	err := tx.QueryRow(q, vaultID, after, last).Scan(&orphan)
	if errors.Is(err, db.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for versions without a secret: %w", err)
	}
	return fmt.Errorf("secret %s in vault %s: there are versions that no head vouches for: %w", orphan, vaultID, envelope.ErrTampered)
}

// heads reads the heads of the next names after one and proves each.
func (s *Store) heads(tx *db.Tx, vaultID, after string) ([]head, error) {
	var out []head
	q := `
		SELECT ` + headColumns + ` FROM secrets h
		WHERE h.vault_id = $1 AND ` + from("h.name_key", after) + `
		ORDER BY h.name_key
		LIMIT $3`
	err := tx.Query(func(row db.Scanner) error {
		var h head
		err := row.Scan(h.into()...)
		out = append(out, h)
		return err
	}, q, vaultID, after, scrubAtOnce)
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
