package secrets

import (
	"database/sql"
	"fmt"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/event"
	"strongroom/internal/vaults"
)

// NewVersion chooses the id of a version before the transaction that stores it, so that a commit
// whose outcome had to be asked after does not make two.
func NewVersion() string { return db.NewID() }

// Set stores a new version, which becomes the latest. version is from NewVersion; the draft has
// been checked.
func (s *Store) Set(tx *db.Tx, vault vaults.Vault, name, version string, d Draft) (Secret, error) {
	h, exists, err := s.readHead(tx, vault.ID, name)
	if err != nil {
		return Secret{}, err
	}
	if exists && h.isDeleted() {
		return Secret{}, recoverable(h.name)
	}
	if !exists {
		h = s.newHead(tx, name)
	}
	v := Secret{
		Name: h.name, Version: version, ordinal: h.newest + 1, Enabled: d.Enabled == nil || *d.Enabled,
		NotBefore: d.NotBefore, Expires: d.Expires, Created: tx.Now, Updated: tx.Now,
		ContentType: d.ContentType, Tags: d.Tags, Value: d.Value,
	}
	if err := s.seal(vault, h.nameKey, &v); err != nil {
		return Secret{}, err
	}
	if err := s.putVersion(tx, vault.ID, h.nameKey, &v); err != nil {
		return Secret{}, err
	}
	h.newestMAC = v.mac
	if err := s.writeHead(tx, vault.ID, h, nil, [][]byte{v.mac}); err != nil {
		return Secret{}, err
	}
	return v, s.announce(tx, vault, v)
}

// announce puts the new version's event into the outbox.
func (s *Store) announce(tx *db.Tx, vault vaults.Vault, v Secret) error {
	return event.Add(tx, s.Tenant, vault.ID, event.SecretNewVersionCreated, event.Data{
		VaultName: vault.Name, ObjectType: "Secret", ObjectName: v.Name, Version: v.Version, NBF: v.NotBefore, EXP: v.Expires,
	})
}

// Update changes the attributes of a version, the latest unless one is named. The value of a
// version never changes.
func (s *Store) Update(tx *db.Tx, vault vaults.Vault, name, version string, p Patch) (Secret, error) {
	h, v, err := s.version(tx, vault.ID, name, version)
	if err != nil {
		return Secret{}, err
	}
	if p.Enabled != nil {
		v.Enabled = *p.Enabled
	}
	if p.NotBefore.Given {
		v.NotBefore = p.NotBefore.At
	}
	if p.Expires.Given {
		v.Expires = p.Expires.At
	}
	if p.ContentType != nil {
		v.ContentType = p.ContentType
	}
	if p.Tags != nil {
		v.Tags = *p.Tags
	}
	v.Updated = tx.Now
	return v, s.replaceVersion(tx, vault.ID, h, v)
}

// replaceVersion stores a version that has changed, and its head.
func (s *Store) replaceVersion(tx *db.Tx, vaultID string, h head, v Secret) error {
	old := v.mac
	if err := s.putVersion(tx, vaultID, h.nameKey, &v); err != nil {
		return err
	}
	if v.ordinal == h.newest {
		h.newestMAC = v.mac
	}
	return s.writeHead(tx, vaultID, h, [][]byte{old}, [][]byte{v.mac})
}

// Delete soft-deletes a secret with all its versions.
func (s *Store) Delete(tx *db.Tx, vault vaults.Vault, name string) (Deleted, error) {
	h, v, err := s.version(tx, vault.ID, name, "")
	if err != nil {
		return Deleted{}, err
	}
	deleted, purge := vault.Deletion(tx.Now)
	h.deleted = sql.NullInt64{Int64: deleted.UnixMicro(), Valid: true}
	h.purge = sql.NullInt64{Int64: purge.UnixMicro(), Valid: true}
	return asDeleted(h, v), s.writeHead(tx, vault.ID, h, nil, nil)
}

// Recover brings a deleted secret back with all its versions.
func (s *Store) Recover(tx *db.Tx, vault vaults.Vault, name string) (Secret, error) {
	d, err := s.deleted(tx, vault.ID, name)
	if err != nil {
		return Secret{}, err
	}
	h, _, err := s.readHead(tx, vault.ID, name)
	if err != nil {
		return Secret{}, err
	}
	h.deleted, h.purge = sql.NullInt64{}, sql.NullInt64{}
	return d.Secret, s.writeHead(tx, vault.ID, h, nil, nil)
}

// Purge removes a deleted secret for good. With purge protection that is refused until its date.
// So it is for whoever purges what is due: it may have been recovered and deleted again since.
func (s *Store) Purge(tx *db.Tx, vault vaults.Vault, name string, onlyDue bool) error {
	d, err := s.deleted(tx, vault.ID, name)
	if err != nil {
		return err
	}
	if onlyDue && tx.Now.Before(d.Purge) {
		return apierr.Conflict("Conflict", "The secret %s is not due for purge.", d.Name)
	}
	if vault.PurgeProtection && tx.Now.Before(d.Purge) {
		return apierr.Forbidden("ForbiddenByPolicy", "Operation \"purge\" is not allowed because purge protection is enabled for this vault. Key Vault service will automatically purge it after the retention period has passed. Vault: %s;location=%s", vault.Name, vault.Location)
	}
	key := strings.ToLower(name)
	if _, err := tx.Exec(`DELETE FROM secret_versions WHERE vault_id = $1 AND name_key = $2`, vault.ID, key); err != nil {
		return fmt.Errorf("purge the versions of a secret: %w", err)
	}
	_, err = tx.Remove(db.Secrets, `vault_id = $1 AND name_key = $2`, vault.ID, key)
	return err
}

// PurgeAll removes everything that a vault holds, when the vault itself is purged and its set of
// rows dropped.
func (s *Store) PurgeAll(tx *db.Tx, vaultID string) error {
	for _, q := range []string{
		`DELETE FROM secret_versions WHERE vault_id = $1`,
		`DELETE FROM secrets WHERE vault_id = $1`,
		`DELETE FROM events WHERE vault_id = $1`,
	} {
		if _, err := tx.Exec(q, vaultID); err != nil {
			return fmt.Errorf("purge the secrets of vault %s: %w", vaultID, err)
		}
	}
	return nil
}
