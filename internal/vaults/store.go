package vaults

import (
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

const columns = `vault_id, subscription_id, group_key, group_name, name_key, name, location, sku, rbac, retention_days, purge_protection,
	properties, tags, created_by, created_us, updated_by, updated_us, deleted_us, purge_us, data_key_sealed, row_mac`

// Named returns the vault of a name that lives. The name decides alone: vault names are unique
// in a deployment.
func (s *Store) Named(tx *db.Tx, name string) (Vault, error) {
	v, err := s.named(tx, name)
	if err == nil && !v.Deleted.IsZero() {
		err = notFound(name)
	}
	return v, err
}

// named returns the vault of a name, deleted or not.
func (s *Store) named(tx *db.Tx, name string) (Vault, error) {
	if !validName(name) { // no vault has it, and PostgreSQL may not even take the text
		return Vault{}, notFound(name)
	}
	const q = `SELECT ` + columns + ` FROM vaults WHERE tenant_id = $1 AND name_key = $2`
	found, err := s.query(tx, q, s.Tenant, strings.ToLower(name))
	if err != nil {
		return Vault{}, err
	}
	if len(found) == 0 {
		return Vault{}, notFound(name)
	}
	return found[0], nil
}

// ByID returns the vault of an id, deleted or not.
func (s *Store) ByID(tx *db.Tx, id string) (Vault, error) {
	const q = `SELECT ` + columns + ` FROM vaults WHERE tenant_id = $1 AND vault_id = $2`
	found, err := s.query(tx, q, s.Tenant, id)
	if err == nil && len(found) == 0 {
		err = notFound(id)
	}
	if err != nil {
		return Vault{}, err
	}
	return found[0], nil
}

func notFound(name string) error {
	return apierr.NotFound("VaultNotFound", "There is no vault named '%s'.", name)
}

// Get returns the living vault of a resource group.
func (s *Store) Get(tx *db.Tx, subscription, group, name string) (Vault, error) {
	v, err := s.Named(tx, name)
	if refusal, ok := apierr.As(err); ok && refusal.Kind == apierr.NotFoundKind ||
		err == nil && !(strings.EqualFold(v.Subscription, subscription) && strings.EqualFold(v.Group, group)) {
		return Vault{}, apierr.NotFound("ResourceNotFound", "The Resource 'Microsoft.KeyVault/vaults/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", name, group)
	}
	return v, err
}

// A Page asks for a part of a list: names above After, at most Limit of them.
type Page struct {
	After string // a name key, or "" for the start
	Limit int
}

// List returns living vaults of a subscription by name, of one group or, with "", of all.
func (s *Store) List(tx *db.Tx, subscription, group string, p Page) ([]Vault, error) {
	const q = `
		SELECT ` + columns + `
		FROM vaults
		WHERE tenant_id = $1 AND subscription_id = $2 AND ($3 = '' OR group_key = $3) AND deleted_us IS NULL AND name_key > $4
		ORDER BY name_key
		LIMIT $5`
	return s.query(tx, q, s.Tenant, strings.ToLower(subscription), strings.ToLower(group), p.After, p.Limit)
}

// ListDeleted returns deleted vaults of a subscription by name.
func (s *Store) ListDeleted(tx *db.Tx, subscription string, p Page) ([]Vault, error) {
	const q = `
		SELECT ` + columns + `
		FROM vaults
		WHERE tenant_id = $1 AND subscription_id = $2 AND deleted_us IS NOT NULL AND name_key > $3
		ORDER BY name_key
		LIMIT $4`
	return s.query(tx, q, s.Tenant, strings.ToLower(subscription), p.After, p.Limit)
}

// Due returns the ids of deleted vaults whose date of purge has come. Rows are not checked: the
// purge does that, and one that does not verify must not hide the others.
func (s *Store) Due(tx *db.Tx, limit int) ([]string, error) {
	const q = `
		SELECT vault_id
		FROM vaults
		WHERE tenant_id = $1 AND purge_us IS NOT NULL AND purge_us <= $2
		ORDER BY purge_us, vault_id
		LIMIT $3`
	var ids []string
	err := tx.Query(func(row db.Scanner) error {
		var id string
		err := row.Scan(&id)
		ids = append(ids, id)
		return err
	}, q, s.Tenant, tx.Micros(), limit)
	if err != nil {
		return nil, fmt.Errorf("find vaults that are due for purge: %w", err)
	}
	return ids, nil
}

// GetDeleted returns a deleted vault of a subscription and location.
func (s *Store) GetDeleted(tx *db.Tx, subscription, location, name string) (Vault, error) {
	v, err := s.named(tx, name)
	if refusal, ok := apierr.As(err); ok && refusal.Kind == apierr.NotFoundKind || err == nil &&
		(v.Deleted.IsZero() || !strings.EqualFold(v.Subscription, subscription) || !sameLocation(v.Location, location)) {
		return Vault{}, apierr.NotFound("DeletedVaultNotFound", "The specified deleted vault '%s' does not exist.", name)
	}
	return v, err
}

// sameLocation compares "West Europe" and "westeurope" as equal, as Azure does.
func sameLocation(a, b string) bool { return locationKey(a) == locationKey(b) }

func locationKey(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }

func (s *Store) query(tx *db.Tx, q string, args ...any) ([]Vault, error) {
	out := []Vault{}
	err := tx.Query(func(row db.Scanner) error {
		v, err := s.scan(row)
		out = append(out, v)
		return err
	}, q, args...)
	if err != nil {
		return nil, fmt.Errorf("read vaults: %w", err)
	}
	return out, nil
}

func (s *Store) scan(row db.Scanner) (Vault, error) {
	var v Vault
	var groupKey, nameKey, properties, tags string
	var created, updated int64
	var deleted, purge sql.NullInt64
	var mac []byte
	err := row.Scan(&v.ID, &v.Subscription, &groupKey, &v.Group, &nameKey, &v.Name, &v.Location, &v.SKU, &v.RBAC, &v.RetentionDays, &v.PurgeProtection,
		&properties, &tags, &v.CreatedBy, &created, &v.UpdatedBy, &updated, &deleted, &purge, &v.DataKeySealed, &mac)
	if err != nil {
		return Vault{}, err
	}
	v.Created, v.Updated = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	v.Deleted, v.Purge = fromMicros(deleted), fromMicros(purge)
	if err := s.Ring.CheckRow(mac, "vaults", s.fields(v, properties, tags)...); err != nil {
		return Vault{}, fmt.Errorf("vault %s: %w", v.ID, err)
	}
	// A vault is found by its keys: with another's it would be served in that one's place.
	if groupKey != strings.ToLower(v.Group) || nameKey != strings.ToLower(v.Name) {
		return Vault{}, fmt.Errorf("vault %s: its keys are not those of its names: %w", v.ID, envelope.ErrTampered)
	}
	if err := json.Unmarshal([]byte(properties), &v.Properties); err != nil {
		return Vault{}, fmt.Errorf("vault %s: read properties: %w", v.ID, err)
	}
	if err := json.Unmarshal([]byte(tags), &v.Tags); err != nil {
		return Vault{}, fmt.Errorf("vault %s: read tags: %w", v.ID, err)
	}
	return v, nil
}

func fromMicros(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.UnixMicro(n.Int64).UTC()
}

// micros stores the zero time as NULL.
func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// fields are all columns of a vault's row, in the order of the schema, for its MAC.
func (s *Store) fields(v Vault, properties, tags string) []any {
	return []any{
		s.Tenant, v.ID, v.Subscription, strings.ToLower(v.Group), v.Group, strings.ToLower(v.Name), v.Name,
		v.Location, v.SKU, v.RBAC, v.RetentionDays, v.PurgeProtection, properties, tags,
		v.CreatedBy, v.Created.UnixMicro(), v.UpdatedBy, v.Updated.UnixMicro(), micros(v.Deleted), micros(v.Purge), v.DataKeySealed,
	}
}

// encode prints the parts of a vault that are stored as JSON, in one form only.
func encode(v Vault) (properties, tags string, err error) {
	p, err := json.Marshal(v.Properties, json.Deterministic(true))
	if err != nil {
		return "", "", fmt.Errorf("encode the properties of vault %s: %w", v.ID, err)
	}
	t, err := json.Marshal(v.Tags, json.Deterministic(true))
	if err != nil {
		return "", "", fmt.Errorf("encode the tags of vault %s: %w", v.ID, err)
	}
	return string(p), string(t), nil
}

func (s *Store) insert(tx *db.Tx, v Vault) error {
	properties, tags, err := encode(v)
	if err != nil {
		return err
	}
	const q = `
		INSERT INTO vaults (tenant_id, vault_id, subscription_id, group_key, group_name, name_key, name, location, sku,
			rbac, retention_days, purge_protection, properties, tags, created_by, created_us, updated_by, updated_us,
			deleted_us, purge_us, data_key_sealed, row_mac)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)`
	args := append(s.fields(v, properties, tags), s.Ring.RowMAC("vaults", s.fields(v, properties, tags)...))
	if _, err := tx.Exec(q, args...); err != nil {
		if db.IsUnique(err) {
			return taken(v.Name)
		}
		return fmt.Errorf("store vault %s: %w", v.ID, err)
	}
	return s.raise(tx, v.ID)
}

func (s *Store) update(tx *db.Tx, v Vault) error {
	properties, tags, err := encode(v)
	if err != nil {
		return err
	}
	const q = `
		UPDATE vaults
		SET sku = $2, rbac = $3, retention_days = $4, purge_protection = $5, properties = $6, tags = $7,
			updated_by = $8, updated_us = $9, deleted_us = $10, purge_us = $11, row_mac = $12
		WHERE vault_id = $1`
	_, err = tx.Exec(q, v.ID, v.SKU, v.RBAC, v.RetentionDays, v.PurgeProtection, properties, tags,
		v.UpdatedBy, v.Updated.UnixMicro(), micros(v.Deleted), micros(v.Purge),
		s.Ring.RowMAC("vaults", s.fields(v, properties, tags)...))
	if err != nil {
		return fmt.Errorf("update vault %s: %w", v.ID, err)
	}
	return s.raise(tx, v.ID)
}

// raise says that the directory and the vault have changed.
func (s *Store) raise(tx *db.Tx, vaultID string) error {
	if _, err := tx.Raise(db.Directory); err != nil {
		return err
	}
	_, err := tx.Raise(db.VaultRevision(vaultID))
	return err
}
