package secrets

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/vaults"
)

// A head is the row that says what a secret is now.
type head struct {
	tenant     string
	nameKey    string
	name       string
	newest     int64 // ordinal of the latest version
	generation int64 // rises with every change of the row
	created    time.Time
	deleted    sql.NullInt64
	purge      sql.NullInt64
}

func (h head) isDeleted() bool { return h.deleted.Valid }

const headColumns = `h.tenant_id, h.name_key, h.name, h.newest, h.generation, h.created_us, h.deleted_us, h.purge_us, h.row_mac`

const versionColumns = `v.tenant_id, v.version, v.ordinal, v.enabled, v.not_before_us, v.expires_us, v.created_us, v.updated_us,
	v.content_type, v.tags, v.value_sealed, v.row_mac`

const latestColumns = headColumns + `, ` + versionColumns

// fromLatest joins each head with its latest version.
const fromLatest = `
	FROM secrets h
	JOIN secret_versions v ON v.vault_id = h.vault_id AND v.name_key = h.name_key AND v.ordinal = h.newest`

// readHead returns the head of a name; ok is false when there is none, living or deleted.
func (s *Store) readHead(tx *db.Tx, vaultID, name string) (h head, ok bool, err error) {
	const q = `SELECT ` + headColumns + ` FROM secrets h WHERE h.vault_id = $1 AND h.name_key = $2`
	var mac []byte
	err = tx.QueryRow(q, vaultID, strings.ToLower(name)).Scan(h.into(&mac)...)
	if errors.Is(err, db.ErrNoRows) {
		return head{}, false, nil
	}
	if err != nil {
		return head{}, false, fmt.Errorf("read the head of a secret: %w", err)
	}
	return h, true, s.checkHead(vaultID, &h, mac)
}

// into lists where the columns of headColumns go.
func (h *head) into(mac *[]byte) []any {
	return []any{&h.tenant, &h.nameKey, &h.name, &h.newest, &h.generation, (*microTime)(&h.created), &h.deleted, &h.purge, mac}
}

// A microTime scans a column of microseconds.
type microTime time.Time

// Scan implements sql.Scanner.
func (t *microTime) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("time column holds %T: want microseconds", v)
	}
	*t = microTime(time.UnixMicro(n).UTC())
	return nil
}

func headFields(vaultID string, h head) []any {
	return []any{h.tenant, vaultID, h.nameKey, h.name, h.newest, h.generation, h.created.UnixMicro(), nullable(h.deleted), nullable(h.purge)}
}

func nullable(n sql.NullInt64) any {
	if !n.Valid {
		return nil
	}
	return n.Int64
}

func (s *Store) checkHead(vaultID string, h *head, mac []byte) error {
	if err := s.Ring.CheckRow(mac, "secrets", headFields(vaultID, *h)...); err != nil {
		return fmt.Errorf("secret %s in vault %s: %w", h.nameKey, vaultID, err)
	}
	return nil
}

// writeHead stores a head that has changed, or a new one.
func (s *Store) writeHead(tx *db.Tx, vaultID string, h head) error {
	h.generation++
	const q = `
		INSERT INTO secrets (tenant_id, vault_id, name_key, name, newest, generation, created_us, deleted_us, purge_us, row_mac)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (vault_id, name_key) DO UPDATE
		SET newest = $5, generation = $6, deleted_us = $8, purge_us = $9, row_mac = $10`
	fields := headFields(vaultID, h)
	if _, err := tx.Exec(q, append(fields, s.Ring.RowMAC("secrets", fields...))...); err != nil {
		return fmt.Errorf("store the head of a secret: %w", err)
	}
	_, err := tx.Raise(db.VaultRevision(vaultID))
	return err
}

// into lists where the columns of versionColumns go.
func (v *Secret) into(row *versionRow) []any {
	return []any{
		&row.tenant, &v.Version, &v.ordinal, &v.Enabled, &row.notBefore, &row.expires, (*microTime)(&v.Created), (*microTime)(&v.Updated),
		&v.ContentType, &row.tags, &v.sealed, &row.mac,
	}
}

// A versionRow holds the columns that are not in the form of the Secret.
type versionRow struct {
	tenant             string
	notBefore, expires sql.NullInt64
	tags               *string
	mac                []byte
}

// finish checks a scanned version and completes it.
func (s *Store) finish(vaultID string, h head, v *Secret, row versionRow) error {
	v.Name, v.NotBefore, v.Expires = h.name, seconds(row.notBefore), seconds(row.expires)
	if err := s.Ring.CheckRow(row.mac, "secret_versions", versionFields(row.tenant, vaultID, h.nameKey, *v, row.tags)...); err != nil {
		return fmt.Errorf("secret %s/%s in vault %s: %w", h.nameKey, v.Version, vaultID, err)
	}
	if row.tags == nil {
		return nil
	}
	if err := json.Unmarshal([]byte(*row.tags), &v.Tags); err != nil {
		return fmt.Errorf("secret %s/%s in vault %s: read tags: %w", h.nameKey, v.Version, vaultID, err)
	}
	return nil
}

func seconds(us sql.NullInt64) *int64 {
	if !us.Valid {
		return nil
	}
	n := us.Int64 / 1e6
	return &n
}

func micros(at *int64) any {
	if at == nil {
		return nil
	}
	return *at * 1e6
}

// versionFields are all columns of a version's row, in the order of the schema.
func versionFields(tenant, vaultID, nameKey string, v Secret, tags *string) []any {
	return []any{
		tenant, vaultID, nameKey, v.Version, v.ordinal, v.Enabled, micros(v.NotBefore), micros(v.Expires),
		v.Created.UnixMicro(), v.Updated.UnixMicro(), v.ContentType, tags, v.sealed,
	}
}

// encodeTags prints tags in one form only; nil stays NULL.
func encodeTags(tags map[string]string) (*string, error) {
	if tags == nil {
		return nil, nil
	}
	b, err := json.Marshal(tags, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode tags: %w", err)
	}
	text := string(b)
	return &text, nil
}

func (s *Store) insertVersion(tx *db.Tx, vaultID, nameKey string, v Secret) error {
	tags, err := encodeTags(v.Tags)
	if err != nil {
		return err
	}
	const q = `
		INSERT INTO secret_versions (tenant_id, vault_id, name_key, version, ordinal, enabled, not_before_us, expires_us,
			created_us, updated_us, content_type, tags, value_sealed, row_mac)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`
	fields := versionFields(s.Tenant, vaultID, nameKey, v, tags)
	if _, err := tx.Exec(q, append(fields, s.Ring.RowMAC("secret_versions", fields...))...); err != nil {
		return fmt.Errorf("store a version: %w", err)
	}
	return nil
}

func (s *Store) updateVersion(tx *db.Tx, vaultID, nameKey string, v Secret) error {
	tags, err := encodeTags(v.Tags)
	if err != nil {
		return err
	}
	const q = `
		UPDATE secret_versions
		SET enabled = $4, not_before_us = $5, expires_us = $6, updated_us = $7, content_type = $8, tags = $9, row_mac = $10
		WHERE vault_id = $1 AND name_key = $2 AND ordinal = $3`
	_, err = tx.Exec(q, vaultID, nameKey, v.ordinal, v.Enabled, micros(v.NotBefore), micros(v.Expires), v.Updated.UnixMicro(),
		v.ContentType, tags, s.Ring.RowMAC("secret_versions", versionFields(s.Tenant, vaultID, nameKey, v, tags)...))
	if err != nil {
		return fmt.Errorf("update a version: %w", err)
	}
	_, err = tx.Raise(db.VaultRevision(vaultID))
	return err
}

// place is what a version's value is bound to.
func place(vaultID, nameKey string, v Secret) envelope.Place {
	return envelope.Place{VaultID: vaultID, Kind: "secret", Name: nameKey, Version: v.Version, Ordinal: v.ordinal}
}

func (s *Store) seal(vault vaults.Vault, nameKey string, v *Secret) error {
	key, err := s.Ring.OpenDataKey(vault.ID, vault.DataKeySealed)
	if err != nil {
		return fmt.Errorf("open the data key of vault %s: %w", vault.ID, err)
	}
	if v.sealed, err = key.Seal(place(vault.ID, nameKey, *v), v.Value); err != nil {
		return fmt.Errorf("seal a value in vault %s: %w", vault.ID, err)
	}
	return nil
}

func (s *Store) open(vault vaults.Vault, nameKey string, v *Secret) error {
	key, err := s.Ring.OpenDataKey(vault.ID, vault.DataKeySealed)
	if err != nil {
		return fmt.Errorf("open the data key of vault %s: %w", vault.ID, err)
	}
	if v.Value, err = key.Open(place(vault.ID, nameKey, *v), v.sealed); err != nil {
		return fmt.Errorf("open secret %s/%s in vault %s: %w", nameKey, v.Version, vault.ID, err)
	}
	return nil
}
