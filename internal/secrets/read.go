package secrets

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/vaults"
)

// Get returns a version with its value: the latest unless one is named. A disabled version is
// refused, and a disabled latest one hides older ones. Dates do not matter here: an expired
// secret can be read (Key Vault REST, "Secret attributes").
func (s *Store) Get(tx *db.Tx, vault vaults.Vault, name, version string) (Secret, error) {
	h, v, err := s.version(tx, vault.ID, name, version)
	if err != nil {
		return Secret{}, err
	}
	if !v.Enabled {
		return Secret{}, apierr.Forbidden("SecretDisabled", "Operation get is not allowed on a disabled secret.")
	}
	return v, s.open(vault, h.nameKey, &v)
}

// version reads a version of a living secret: the latest unless one is named.
func (s *Store) version(tx *db.Tx, vaultID, name, version string) (head, Secret, error) {
	const latest = `SELECT ` + latestColumns + fromLatest + ` WHERE h.vault_id = $1 AND h.name_key = $2 AND $3 = ''`
	const named = `
		SELECT ` + latestColumns + `
		FROM secrets h
		JOIN secret_versions v ON v.vault_id = h.vault_id AND v.name_key = h.name_key
		WHERE h.vault_id = $1 AND h.name_key = $2 AND v.version = $3`
	q := latest
	if version != "" {
		q = named
		if !versionID.MatchString(version) { // no row has it, and PostgreSQL may not even take the text
			return head{}, Secret{}, notFound(name, version)
		}
	}
	h, v, err := s.scan(vaultID, tx.QueryRow(q, vaultID, strings.ToLower(name), strings.ToLower(version)))
	if errors.Is(err, db.ErrNoRows) || err == nil && h.isDeleted() {
		return head{}, Secret{}, notFound(name, version)
	}
	if err != nil {
		return head{}, Secret{}, fmt.Errorf("read a secret: %w", err)
	}
	return h, v, nil
}

// scan reads a row of latestColumns and checks both of its MACs.
func (s *Store) scan(vaultID string, row db.Scanner) (head, Secret, error) {
	var h head
	var v Secret
	var mac []byte
	var r versionRow
	if err := row.Scan(append(h.into(&mac), v.into(&r)...)...); err != nil {
		return h, v, err
	}
	if err := s.checkHead(vaultID, &h, mac); err != nil {
		return h, v, err
	}
	return h, v, s.finish(vaultID, h, &v, r)
}

// GetDeleted returns a deleted secret. One whose latest version is disabled is refused, as
// recorded of the service.
func (s *Store) GetDeleted(tx *db.Tx, vault vaults.Vault, name string) (Deleted, error) {
	d, err := s.deleted(tx, vault.ID, name)
	if err == nil && !d.Enabled {
		err = apierr.Forbidden("AccessDenied", "Operation get is not permitted on this object.")
	}
	return d, err
}

func (s *Store) deleted(tx *db.Tx, vaultID, name string) (Deleted, error) {
	const q = `SELECT ` + latestColumns + fromLatest + ` WHERE h.vault_id = $1 AND h.name_key = $2`
	h, v, err := s.scan(vaultID, tx.QueryRow(q, vaultID, strings.ToLower(name)))
	if errors.Is(err, db.ErrNoRows) || err == nil && !h.isDeleted() {
		return Deleted{}, deletedNotFound(name)
	}
	if err != nil {
		return Deleted{}, fmt.Errorf("read a deleted secret: %w", err)
	}
	return asDeleted(h, v), nil
}

func asDeleted(h head, v Secret) Deleted {
	return Deleted{Secret: v, At: time.UnixMicro(h.deleted.Int64).UTC(), Purge: time.UnixMicro(h.purge.Int64).UTC()}
}

// A Page asks for a part of a list: what comes after a key, at most Limit items.
type Page struct {
	After string // a name in lower case, or a version; "" for the start
	Limit int
}

// List returns the latest version of each living secret, by name in lower case.
func (s *Store) List(tx *db.Tx, vault vaults.Vault, p Page) ([]Secret, error) {
	const q = `
		SELECT ` + latestColumns + fromLatest + `
		WHERE h.vault_id = $1 AND h.deleted_us IS NULL AND h.name_key > $2
		ORDER BY h.name_key
		LIMIT $3`
	out := []Secret{}
	err := s.each(tx, vault.ID, func(_ head, v Secret) { out = append(out, v) }, q, vault.ID, p.After, p.Limit)
	return out, err
}

// Versions returns the versions of a living secret, by their id; an unknown name has none.
func (s *Store) Versions(tx *db.Tx, vault vaults.Vault, name string, p Page) ([]Secret, error) {
	const q = `
		SELECT ` + latestColumns + `
		FROM secrets h
		JOIN secret_versions v ON v.vault_id = h.vault_id AND v.name_key = h.name_key
		WHERE h.vault_id = $1 AND h.name_key = $2 AND h.deleted_us IS NULL AND v.version > $3
		ORDER BY v.version
		LIMIT $4`
	out := []Secret{}
	err := s.each(tx, vault.ID, func(_ head, v Secret) { out = append(out, v) }, q, vault.ID, strings.ToLower(name), p.After, p.Limit)
	return out, err
}

// ListDeleted returns deleted secrets by name in lower case.
func (s *Store) ListDeleted(tx *db.Tx, vault vaults.Vault, p Page) ([]Deleted, error) {
	const q = `
		SELECT ` + latestColumns + fromLatest + `
		WHERE h.vault_id = $1 AND h.deleted_us IS NOT NULL AND h.name_key > $2
		ORDER BY h.name_key
		LIMIT $3`
	out := []Deleted{}
	err := s.each(tx, vault.ID, func(h head, v Secret) { out = append(out, asDeleted(h, v)) }, q, vault.ID, p.After, p.Limit)
	return out, err
}

func (s *Store) each(tx *db.Tx, vaultID string, take func(head, Secret), q string, args ...any) error {
	err := tx.Query(func(row db.Scanner) error {
		h, v, err := s.scan(vaultID, row)
		if err == nil {
			take(h, v)
		}
		return err
	}, q, args...)
	if err != nil {
		return fmt.Errorf("list secrets: %w", err)
	}
	return nil
}

// A Due secret is one whose date of purge has come.
type Due struct{ VaultID, Name string }

// Due returns deleted secrets whose date of purge has come, in vaults that live.
func (s *Store) Due(tx *db.Tx, limit int) ([]Due, error) {
	const q = `
		SELECT h.vault_id, h.name
		FROM secrets h
		JOIN vaults v ON v.vault_id = h.vault_id AND v.deleted_us IS NULL
		WHERE h.tenant_id = $1 AND h.purge_us IS NOT NULL AND h.purge_us <= $2
		ORDER BY h.purge_us, h.vault_id, h.name_key
		LIMIT $3`
	var out []Due
	err := tx.Query(func(row db.Scanner) error {
		var d Due
		err := row.Scan(&d.VaultID, &d.Name)
		out = append(out, d)
		return err
	}, q, s.Tenant, tx.Micros(), limit)
	if err != nil {
		return nil, fmt.Errorf("find secrets that are due for purge: %w", err)
	}
	return out, nil
}
