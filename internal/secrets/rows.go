package secrets

import (
	"bytes"
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

// A head is the row that says what a secret is now. It vouches for the rows of its versions.
type head struct {
	tenant     string
	nameKey    string
	part       int64
	name       string
	newest     int64  // ordinal of the latest version, and the number of versions: none ever goes alone
	newestMAC  []byte // of the latest version's row
	versions   []byte // sealed digest of all versions' rows
	generation int64  // rises with every change of the row
	created    time.Time
	deleted    sql.NullInt64
	purge      sql.NullInt64
	mac        []byte // nil for one that is not stored yet
}

func (h head) isDeleted() bool { return h.deleted.Valid }

const headColumns = `h.tenant_id, h.name_key, h.part, h.name, h.newest, h.newest_mac, h.versions_sealed, h.generation,
	h.created_us, h.deleted_us, h.purge_us, h.row_mac`

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
	key := strings.ToLower(name)
	err = tx.QueryRow(q, vaultID, key).Scan(h.into()...)
	if errors.Is(err, db.ErrNoRows) {
		return head{}, false, tx.Absent(db.Secrets, headFields(vaultID, head{nameKey: key, part: db.Part(key)})...)
	}
	if err != nil {
		return head{}, false, fmt.Errorf("read the head of a secret: %w", err)
	}
	if h.nameKey != key {
		return head{}, false, notAsked(h)
	}
	return h, true, checkHead(tx, vaultID, h)
}

// into lists where the columns of headColumns go.
func (h *head) into() []any {
	return []any{
		&h.tenant, &h.nameKey, &h.part, &h.name, &h.newest, &h.newestMAC, &h.versions, &h.generation,
		(*microTime)(&h.created), &h.deleted, &h.purge, &h.mac,
	}
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
	return []any{
		h.tenant, vaultID, h.nameKey, h.part, h.name, h.newest, h.newestMAC, h.versions, h.generation,
		h.created.UnixMicro(), nullable(h.deleted), nullable(h.purge),
	}
}

func nullable(n sql.NullInt64) any {
	if !n.Valid {
		return nil
	}
	return n.Int64
}

func checkHead(tx *db.Tx, vaultID string, h head) error {
	if err := tx.Check(db.Secrets, h.mac, headFields(vaultID, h)...); err != nil {
		return fmt.Errorf("secret %s in vault %s: %w", h.nameKey, vaultID, err)
	}
	return nil
}

// newHead is the head of a secret without versions.
func (s *Store) newHead(tx *db.Tx, name string) head {
	key := strings.ToLower(name)
	return head{tenant: s.Tenant, nameKey: key, part: db.Part(key), name: name, created: tx.Now}
}

// writeHead stores a head that has changed, or a new one, with the rows of versions that are gone
// and come, given by their MACs or nil.
func (s *Store) writeHead(tx *db.Tx, vaultID string, h head, gone, come [][]byte) error {
	versions := s.Ring.NewDigest(1)
	var err error
	if h.mac != nil {
		if versions, err = s.Ring.OpenDigest(h.versions, versionSet(vaultID, h), h.generation, h.newest); err != nil {
			return err
		}
	}
	if versions, err = s.Ring.Fold(versions, 0, gone, come); err != nil {
		return err
	}
	h.newest += int64(len(come) - len(gone))
	h.generation++
	if h.versions, err = s.Ring.SealDigest(versions, versionSet(vaultID, h), h.generation, h.newest); err != nil {
		return err
	}
	_, err = tx.Put(db.Secrets, h.mac, headFields(vaultID, h)...)
	return err
}

// versionSet names the set of a secret's versions.
func versionSet(vaultID string, h head) string { return "secret/" + vaultID + "/" + h.nameKey }

// proveVersions compares all versions of a secret with the digest in its head.
func (s *Store) proveVersions(tx *db.Tx, vaultID string, h head) error {
	var macs [][]byte
	const q = `SELECT row_mac FROM secret_versions WHERE vault_id = $1 AND name_key = $2`
	err := tx.Query(func(row db.Scanner) error {
		var mac []byte
		err := row.Scan(&mac)
		macs = append(macs, mac)
		return err
	}, q, vaultID, h.nameKey)
	if err != nil {
		return fmt.Errorf("read the versions of a secret: %w", err)
	}
	return s.vouches(vaultID, h, macs)
}

// proveVersion says whether a version's row is one that the head vouches for.
func (s *Store) proveVersion(tx *db.Tx, vaultID string, h head, v Secret) error {
	if v.ordinal != h.newest {
		return s.proveVersions(tx, vaultID, h)
	}
	if !bytes.Equal(v.mac, h.newestMAC) {
		return fmt.Errorf("secret %s in vault %s: its latest version is not the one that its head vouches for: %w", h.nameKey, vaultID, envelope.ErrTampered)
	}
	return nil
}

// A row is a head joined with one of its versions, as the database has them.
type row struct {
	h                  head
	v                  Secret
	tenant             string // of the version
	notBefore, expires sql.NullInt64
	tags               *string
}

// into lists where the columns of latestColumns go.
func (r *row) into() []any {
	v := &r.v
	return append(r.h.into(), &r.tenant, &v.Version, &v.ordinal, &v.Enabled, &r.notBefore, &r.expires,
		(*microTime)(&v.Created), (*microTime)(&v.Updated), &v.ContentType, &r.tags, &v.sealed, &v.mac)
}

// finish proves both halves of a row and completes the version.
func (s *Store) finish(tx *db.Tx, vaultID string, r *row) error {
	if err := checkHead(tx, vaultID, r.h); err != nil {
		return err
	}
	v := &r.v
	v.Name, v.NotBefore, v.Expires = r.h.name, seconds(r.notBefore), seconds(r.expires)
	err := tx.Check(db.SecretVersions, v.mac, versionFields(r.tenant, vaultID, r.h.nameKey, *v, r.tags)...)
	if err == nil && r.tags != nil {
		err = json.Unmarshal([]byte(*r.tags), &v.Tags)
	}
	if err != nil {
		return fmt.Errorf("secret %s/%s in vault %s: %w", r.h.nameKey, v.Version, vaultID, err)
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

// putVersion stores a new version, or one that has changed, and notes its MAC.
func (s *Store) putVersion(tx *db.Tx, vaultID, nameKey string, v *Secret) error {
	tags, err := encodeTags(v.Tags)
	if err != nil {
		return err
	}
	v.mac, err = tx.Put(db.SecretVersions, v.mac, versionFields(s.Tenant, vaultID, nameKey, *v, tags)...)
	return err
}

// place is what a version's value is bound to.
func place(vaultID, nameKey string, v Secret) envelope.Place {
	return envelope.Place{VaultID: vaultID, Kind: "secret", Name: nameKey, Version: v.Version, Ordinal: v.ordinal}
}

func (s *Store) seal(vault vaults.Vault, nameKey string, v *Secret) error {
	key, err := s.Ring.OpenDataKeys(vault.ID, vault.DataKeySealed)
	if err != nil {
		return fmt.Errorf("open the data key of vault %s: %w", vault.ID, err)
	}
	if v.sealed, err = key.Seal(place(vault.ID, nameKey, *v), v.Value); err != nil {
		return fmt.Errorf("seal a value in vault %s: %w", vault.ID, err)
	}
	return nil
}

func (s *Store) open(vault vaults.Vault, nameKey string, v *Secret) error {
	key, err := s.Ring.OpenDataKeys(vault.ID, vault.DataKeySealed)
	if err != nil {
		return fmt.Errorf("open the data key of vault %s: %w", vault.ID, err)
	}
	if v.Value, err = key.Open(place(vault.ID, nameKey, *v), v.sealed); err != nil {
		return fmt.Errorf("open secret %s/%s in vault %s: %w", nameKey, v.Version, vault.ID, err)
	}
	return nil
}
