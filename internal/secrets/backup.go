package secrets

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/vaults"
)

// backupFormat is the version of the archive inside a backup blob.
const backupFormat = 1

// An Archive is what a backup blob holds, opened: a secret with all its versions.
type Archive struct {
	Format       int               `json:"format"`
	Subscription string            `json:"subscription"`
	Location     string            `json:"location"`
	Name         string            `json:"name"`
	Versions     []archivedVersion `json:"versions"`
}

// An archivedVersion keeps its plaintext in a redacting type, so that an Archive can be printed.
type archivedVersion struct {
	Version     string            `json:"version"`
	Enabled     bool              `json:"enabled"`
	NotBefore   *int64            `json:"nbf"`
	Expires     *int64            `json:"exp"`
	Created     int64             `json:"created_us"`
	Updated     int64             `json:"updated_us"`
	ContentType *string           `json:"contentType"`
	Tags        map[string]string `json:"tags,omitzero"` // absent, not empty, if never set
	Value       plaintext         `json:"value"`
}

// A plaintext is a Value that the archive's JSON shows as base64, and nothing else shows.
type plaintext struct{ envelope.Value }

// MarshalJSONTo writes the value as base64.
func (p plaintext) MarshalJSONTo(enc *jsontext.Encoder) error {
	return enc.WriteToken(jsontext.String(base64.StdEncoding.EncodeToString(p.Reveal())))
}

// UnmarshalJSONFrom reads what MarshalJSONTo wrote.
func (p *plaintext) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	token, err := dec.ReadToken()
	if err != nil {
		return err
	}
	b, err := base64.StdEncoding.DecodeString(token.String())
	if err != nil {
		return errors.New("want base64")
	}
	p.Value = envelope.NewValue(append([]byte{}, b...))
	return nil
}

// Backup returns a sealed copy of a secret with all its versions. Deployment and kind are bound
// to it, and so are subscription and location, to which Azure limits a restore.
func (s *Store) Backup(tx *db.Tx, vault vaults.Vault, name string) (blob []byte, err error) {
	h, exists, err := s.readHead(tx, vault.ID, name)
	if err != nil {
		return nil, err
	}
	if !exists || h.isDeleted() {
		return nil, notFound(name, "")
	}
	const q = `
		SELECT ` + latestColumns + `
		FROM secrets h
		JOIN secret_versions v ON v.vault_id = h.vault_id AND v.name_key = h.name_key
		WHERE h.vault_id = $1 AND h.name_key = $2
		ORDER BY v.ordinal
		LIMIT $3`
	rows, err := s.rows(tx, vault.ID, q, vault.ID, h.nameKey, MaxBackup+2)
	if err == nil {
		err = s.proveVersions(tx, vault.ID, h)
	}
	if err != nil {
		return nil, err
	}
	// The limit is of past versions: the latest is not one.
	if len(rows) > MaxBackup+1 {
		return nil, apierr.BadRequest("BadParameter", "The secret has more than %d past versions and cannot be backed up.", MaxBackup)
	}
	a := Archive{Format: backupFormat, Subscription: vault.Subscription, Location: vault.Location, Name: h.name}
	for _, r := range rows {
		v := r.v
		if err := s.open(vault, h.nameKey, &v); err != nil {
			return nil, err
		}
		a.Versions = append(a.Versions, archivedVersion{
			v.Version, v.Enabled, v.NotBefore, v.Expires, v.Created.UnixMicro(), v.Updated.UnixMicro(), v.ContentType, v.Tags, plaintext{v.Value},
		})
	}
	return s.sealArchive(a)
}

func (s *Store) sealArchive(a Archive) ([]byte, error) {
	plain, err := json.Marshal(a, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode a backup: %w", err)
	}
	defer clear(plain)
	blob, err := s.Ring.SealBackup("secret", plain)
	if err != nil {
		return nil, fmt.Errorf("seal a backup: %w", err)
	}
	return blob, nil
}

// OpenArchive opens a backup blob outside any transaction. All faults of a blob are one refusal.
func (s *Store) OpenArchive(blob []byte) (Archive, error) {
	plain, err := s.Ring.OpenBackup("secret", blob)
	if err != nil {
		return Archive{}, badBlob()
	}
	defer clear(plain)
	var a Archive
	if err := json.Unmarshal(plain, &a); err != nil || a.Format != backupFormat || len(a.Versions) == 0 {
		return Archive{}, badBlob()
	}
	return a, nil
}

func badBlob() error {
	return badValue("the backup blob is malformed, or not of this deployment and kind of object")
}

// Restore stores an archived secret under its own name with its own version ids and dates. The
// name must be free; id is how the refusal names the secret.
func (s *Store) Restore(tx *db.Tx, vault vaults.Vault, a Archive, id string) (Secret, error) {
	if !strings.EqualFold(a.Subscription, vault.Subscription) || a.Location != vault.Location {
		return Secret{}, apierr.BadRequest("BadParameter", "The backup is of another subscription or location and cannot be restored into this vault.")
	}
	h, exists, err := s.readHead(tx, vault.ID, a.Name)
	switch {
	case err != nil:
		return Secret{}, err
	case exists && h.isDeleted():
		return Secret{}, recoverable(h.name)
	case exists:
		return Secret{}, restoreConflict(id)
	}
	h = s.newHead(tx, a.Name)
	var v Secret
	var macs [][]byte
	for i, old := range a.Versions {
		v = Secret{
			Name: a.Name, Version: old.Version, ordinal: int64(i + 1), Enabled: old.Enabled, NotBefore: old.NotBefore, Expires: old.Expires,
			Created: time.UnixMicro(old.Created).UTC(), Updated: time.UnixMicro(old.Updated).UTC(), ContentType: old.ContentType, Tags: old.Tags,
			Value: old.Value.Value,
		}
		if err := s.seal(vault, h.nameKey, &v); err != nil {
			return Secret{}, err
		}
		if err := s.putVersion(tx, vault.ID, h.nameKey, &v); err != nil {
			return Secret{}, err
		}
		macs = append(macs, v.mac)
	}
	h.newestMAC = v.mac
	return v, s.writeHead(tx, vault.ID, h, nil, macs)
}

func restoreConflict(id string) error {
	return apierr.Conflict("Conflict", "There was a conflict restoring the secret '%s'. This can happen if either: a second secret with the same name was created after the first secret was deleted; thus trying to restore a secret whose name is already in use. To fix this, rename the second secret to something else so that the restore works. The second probable cause of this exception is when multiple operations are performed in parallel against the secret. To avoid this error, perform operations against a secret in a sequential manner.", id)
}
