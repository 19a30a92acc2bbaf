package vaults

import (
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

var selectVaults = `
	SELECT ` + db.Vaults.Columns("")

// Named returns the vault of a name that lives. The name decides alone: vault names are unique
// in a deployment.
func (s *Store) Named(tx *db.Tx, name string) (Vault, error) {
	key, revision := strings.ToLower(name), tx.Revision(db.Directory)
	if v, ok := s.known.get(revision, key); ok && tx.ReadOnly() {
		return v, nil
	}
	v, err := s.named(tx, name)
	if err == nil && !v.Deleted.IsZero() {
		err = notFound(name)
	}
	if err == nil && tx.ReadOnly() {
		s.known.put(revision, key, v)
	}
	return v, err
}

// maxKnown bounds the vaults in memory.
const maxKnown = 10000

// A directory remembers the living vaults that were asked for, at one revision of the directory.
type directory struct {
	mu       sync.RWMutex
	revision int64
	vaults   map[string]Vault // by name in lower case
}

func (d *directory) get(revision int64, key string) (Vault, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.revision != revision {
		return Vault{}, false
	}
	v, ok := d.vaults[key]
	return v, ok
}

func (d *directory) put(revision int64, key string, v Vault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if revision < d.revision {
		return // read before a change that is known by now
	}
	if revision > d.revision || d.vaults == nil || len(d.vaults) >= maxKnown {
		d.revision, d.vaults = revision, map[string]Vault{}
	}
	d.vaults[key] = v
}

// named returns the vault of a name, deleted or not.
func (s *Store) named(tx *db.Tx, name string) (Vault, error) {
	if !validName(name) { // no vault has it, and PostgreSQL may not even take the text
		return Vault{}, notFound(name)
	}
	q := selectVaults + ` FROM vaults WHERE tenant_id = $1 AND name_key = $2`
	found, err := s.query(tx, q, s.Tenant, strings.ToLower(name))
	if err != nil {
		return Vault{}, err
	}
	if len(found) == 0 {
		return Vault{}, notFound(name)
	}
	if !strings.EqualFold(found[0].Name, name) {
		return Vault{}, db.Vaults.NotAsked(name)
	}
	return found[0], nil
}

// ByID returns the vault of an id, deleted or not.
func (s *Store) ByID(tx *db.Tx, id string) (Vault, error) {
	q := selectVaults + ` FROM vaults WHERE tenant_id = $1 AND vault_id = $2`
	found, err := s.query(tx, q, s.Tenant, id)
	if err == nil && len(found) == 0 {
		err = notFound(id)
	}
	if err == nil && found[0].ID != id {
		err = db.Vaults.NotAsked(id)
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
	q := selectVaults + `
		FROM vaults
		WHERE tenant_id = $1 AND subscription_id = $2 AND ($3 = '' OR group_key = $3) AND deleted_us IS NULL AND name_key > $4
		ORDER BY name_key
		LIMIT $5`
	return s.query(tx, q, s.Tenant, strings.ToLower(subscription), strings.ToLower(group), p.After, p.Limit)
}

// ListDeleted returns deleted vaults of a subscription by name.
func (s *Store) ListDeleted(tx *db.Tx, subscription string, p Page) ([]Vault, error) {
	q := selectVaults + `
		FROM vaults
		WHERE tenant_id = $1 AND subscription_id = $2 AND deleted_us IS NOT NULL AND name_key > $3
		ORDER BY name_key
		LIMIT $4`
	return s.query(tx, q, s.Tenant, strings.ToLower(subscription), p.After, p.Limit)
}

// IDs returns the ids of all vaults, living and deleted. Rows are not checked.
func (s *Store) IDs(tx *db.Tx) ([]string, error) {
	return ids(tx, `SELECT vault_id FROM vaults WHERE tenant_id = $1 ORDER BY vault_id`, s.Tenant)
}

// Exists says whether there is a vault of the id, living or deleted. That none was taken away by
// somebody else's hand is for Scrub to say.
func (s *Store) Exists(tx *db.Tx, id string) (bool, error) {
	found, err := ids(tx, `SELECT vault_id FROM vaults WHERE tenant_id = $1 AND vault_id = $2`, s.Tenant, id)
	return len(found) > 0, err
}

func ids(tx *db.Tx, q string, args ...any) (out []string, err error) {
	err = tx.Query(func(row db.Scanner) error {
		var id string
		err := row.Scan(&id)
		out = append(out, id)
		return err
	}, q, args...)
	if err != nil {
		return nil, fmt.Errorf("find vaults: %w", err)
	}
	return out, nil
}

// Scrub proves the rows of all vaults and resource groups.
func (s *Store) Scrub(tx *db.Tx) error {
	_, err := s.query(tx, selectVaults+` FROM vaults`)
	if err == nil {
		_, err = s.queryGroups(tx, selectGroups+` FROM resource_groups`)
	}
	return err
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
	return ids(tx, q, s.Tenant, tx.Micros(), limit)
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
	return db.ReadRows(tx, db.Vaults, scan, q, args...)
}

func scan(row db.Scanner) (v Vault, seal db.Seal, err error) {
	var tenant, groupKey, nameKey, properties, tags string
	var created, updated int64
	var deleted, purge sql.NullInt64
	err = row.Scan(&tenant, &v.ID, &v.Subscription, &groupKey, &v.Group, &nameKey, &v.Name, &v.Location, &v.SKU, &v.RBAC, &v.RetentionDays, &v.PurgeProtection,
		&properties, &tags, &v.CreatedBy, &created, &v.UpdatedBy, &updated, &deleted, &purge, &v.DataKeySealed, &seal.MAC)
	if err != nil {
		return v, seal, err
	}
	v.Created, v.Updated = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	v.Deleted, v.Purge = fromMicros(deleted), fromMicros(purge)
	seal.Fields = fields(tenant, v, properties, tags)
	// A vault is found by its keys: with another's it would be served in that one's place.
	if groupKey != strings.ToLower(v.Group) || nameKey != strings.ToLower(v.Name) {
		return v, seal, fmt.Errorf("vault %s: its keys are not those of its names: %w", v.ID, envelope.ErrTampered)
	}
	if err := readJSON(properties, &v.Properties); err != nil {
		return v, seal, err
	}
	return v, seal, readJSON(tags, &v.Tags)
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
func fields(tenant string, v Vault, properties, tags string) []any {
	return []any{
		tenant, v.ID, v.Subscription, strings.ToLower(v.Group), v.Group, strings.ToLower(v.Name), v.Name,
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
	_, err = tx.Put(db.Vaults, nil, fields(s.Tenant, v, properties, tags)...)
	if db.IsUnique(err) {
		return taken(v.Name)
	}
	if err != nil {
		return err
	}
	return tx.Raise(db.VaultRevision(v.ID))
}

func (s *Store) update(tx *db.Tx, v Vault) error {
	if err := s.replace(tx, v); err != nil {
		return err
	}
	return tx.Raise(db.VaultRevision(v.ID))
}

// replace stores a vault whose contents do not have to know of the change.
func (s *Store) replace(tx *db.Tx, v Vault) error {
	properties, tags, err := encode(v)
	if err != nil {
		return err
	}
	return tx.Replace(db.Vaults, fields(s.Tenant, v, properties, tags)...)
}
