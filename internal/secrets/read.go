package secrets

import (
	"fmt"
	"strings"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/vaults"
)

// An Answer is a version with its value as somebody is shown it.
type Answer struct {
	Name, Version string
	Body          envelope.Value
}

// A Form is what an answer depends on beside the version: by which name the vault was called, and what
// the vault says of its secrets.
type Form struct {
	BaseURL, RecoveryLevel string
	RecoverableDays        int
}

// Answer is Get and what render makes of it. Where that was made before, and nothing has changed since,
// it comes from memory.
func (s *Store) Answer(tx *db.Tx, vault vaults.Vault, name, version string, f Form, render func(Secret) (envelope.Value, error)) (Answer, error) {
	scope, key := db.VaultRevision(vault.ID), strings.ToLower(name)
	revision, err := tx.RevisionOf(scope)
	if err != nil {
		return Answer{}, err
	}
	row, want := db.Secrets.Key(vault.ID, key), question{key, strings.ToLower(version), f}
	if a, ok := s.answers.get(scope, revision, row, want); ok && tx.ReadOnly() {
		return a, nil
	}
	v, err := s.Get(tx, vault, name, version)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Name: v.Name, Version: v.Version}
	if a.Body, err = render(v); err == nil && tx.ReadOnly() {
		s.answers.put(scope, revision, row, item{want, a})
	}
	return a, err
}

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
	if err := s.open(vault, h.nameKey, &v); err != nil {
		return Secret{}, err
	}
	return v, nil
}

// version reads a version of a living secret: the latest unless one is named.
func (s *Store) version(tx *db.Tx, vaultID, name, version string) (head, Secret, error) {
	h, v, err := s.anyVersion(tx, vaultID, name, version)
	if err == nil && h.isDeleted() {
		err = notFound(name, version)
	}
	if err != nil {
		return head{}, Secret{}, err
	}
	return h, v, nil
}

// anyVersion reads a version of a secret, deleted or not.
func (s *Store) anyVersion(tx *db.Tx, vaultID, name, version string) (head, Secret, error) {
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
	rows, err := s.rows(tx, vaultID, q, vaultID, strings.ToLower(name), strings.ToLower(version))
	if err != nil {
		return head{}, Secret{}, err
	}
	if len(rows) == 0 {
		return head{}, Secret{}, s.missing(tx, vaultID, name, version)
	}
	h, v := rows[0].h, rows[0].v
	if h.nameKey != strings.ToLower(name) || version != "" && v.Version != strings.ToLower(version) {
		return head{}, Secret{}, notAsked(h)
	}
	return h, v, s.proveVersion(tx, vaultID, h, v)
}

// missing is the refusal of a version that was not found, if nobody has taken it away.
func (s *Store) missing(tx *db.Tx, vaultID, name, version string) error {
	h, exists, err := s.readHead(tx, vaultID, name)
	if err == nil && exists {
		err = s.proveVersions(tx, vaultID, h)
	}
	if err != nil {
		return err
	}
	return notFound(name, version)
}

// rows runs a query of latestColumns and proves each row.
func (s *Store) rows(tx *db.Tx, vaultID, q string, args ...any) ([]*row, error) {
	if err := tx.HasSet(vaultID); err != nil {
		return nil, err
	}
	var out []*row
	err := tx.Query(func(scanner db.Scanner) error {
		r := &row{}
		out = append(out, r)
		return scanner.Scan(r.into()...)
	}, q, args...)
	if err != nil {
		return nil, fmt.Errorf("read secrets: %w", err)
	}
	for _, r := range out {
		if err := s.finish(tx, vaultID, r); err != nil {
			return nil, err
		}
	}
	return out, nil
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
	rows, err := s.rows(tx, vaultID, q, vaultID, strings.ToLower(name))
	if err != nil {
		return Deleted{}, err
	}
	if len(rows) == 0 {
		if err := s.missing(tx, vaultID, name, ""); !isNotFound(err) {
			return Deleted{}, err
		}
	}
	if len(rows) == 0 || !rows[0].h.isDeleted() {
		return Deleted{}, deletedNotFound(name)
	}
	if rows[0].h.nameKey != strings.ToLower(name) {
		return Deleted{}, notAsked(rows[0].h)
	}
	h, v := rows[0].h, rows[0].v
	return asDeleted(h, v), s.proveVersion(tx, vaultID, h, v)
}

// notAsked is the fault of a database that answers with another row than it was asked for, which is
// true in itself.
func notAsked(h head) error {
	return fmt.Errorf("secret %s: the database answered with it when another was asked for: %w", h.nameKey, envelope.ErrTampered)
}

func isNotFound(err error) bool {
	refusal, ok := apierr.As(err)
	return ok && refusal.Kind == apierr.NotFoundKind
}

func asDeleted(h head, v Secret) Deleted {
	return Deleted{Secret: v, At: time.UnixMicro(h.deleted.Int64).UTC(), Purge: time.UnixMicro(h.purge.Int64).UTC()}
}

// A Page asks for a part of a list: what comes after a key, at most Limit items.
type Page struct {
	After string // a name in lower case, or a version; "" for the start
	Limit int
}

// List returns the latest version of each living secret, by name in lower case, without its value.
// The result is shared: nobody may change it.
func (s *Store) List(tx *db.Tx, vault vaults.Vault, p Page) ([]Secret, error) {
	scope := db.VaultRevision(vault.ID)
	revision, err := tx.RevisionOf(scope)
	if err != nil {
		return nil, err
	}
	if page, ok := s.answers.page(scope, revision, p); ok && tx.ReadOnly() {
		return page, nil
	}
	const q = `
		SELECT ` + latestColumns + fromLatest + `
		WHERE h.vault_id = $1 AND h.deleted_us IS NULL AND h.name_key > $2
		ORDER BY h.name_key
		LIMIT $3`
	rows, err := s.latest(tx, vault.ID, q, vault.ID, p.After, p.Limit)
	out := make([]Secret, len(rows))
	for i, r := range rows {
		out[i] = r.v
		out[i].sealed, out[i].mac = nil, nil // proven, and not needed any more
	}
	if err == nil && tx.ReadOnly() {
		s.answers.putPage(scope, revision, p, out)
	}
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
	rows, err := s.rows(tx, vault.ID, q, vault.ID, strings.ToLower(name), p.After, p.Limit)
	if err == nil && len(rows) > 0 {
		err = s.proveVersions(tx, vault.ID, rows[0].h)
	} else if err == nil && p.After == "" {
		err = s.missing(tx, vault.ID, name, "")
	}
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	out := make([]Secret, len(rows))
	for i, r := range rows {
		out[i] = r.v
	}
	return out, nil
}

// ListDeleted returns deleted secrets by name in lower case.
func (s *Store) ListDeleted(tx *db.Tx, vault vaults.Vault, p Page) ([]Deleted, error) {
	const q = `
		SELECT ` + latestColumns + fromLatest + `
		WHERE h.vault_id = $1 AND h.deleted_us IS NOT NULL AND h.name_key > $2
		ORDER BY h.name_key
		LIMIT $3`
	rows, err := s.latest(tx, vault.ID, q, vault.ID, p.After, p.Limit)
	out := make([]Deleted, len(rows))
	for i, r := range rows {
		out[i] = asDeleted(r.h, r.v)
	}
	return out, err
}

// latest is rows for a query whose rows have the latest versions.
func (s *Store) latest(tx *db.Tx, vaultID, q string, args ...any) ([]*row, error) {
	rows, err := s.rows(tx, vaultID, q, args...)
	for i := 0; err == nil && i < len(rows); i++ {
		err = s.proveVersion(tx, vaultID, rows[i].h, rows[i].v)
	}
	return rows, err
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
