package dataplane

import (
	"context"
	"encoding/base64"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/operation"
	"strongroom/internal/secrets"
)

const (
	secretName    = "secret-name"
	secretVersion = "secret-version"
	secretActions = "Microsoft.KeyVault/vaults/secrets/"
)

// Limits of bodies, large enough for all that is legal when it comes as \u escapes: six bytes for
// one of a value's 25,600; two escapes for a character of 15 tags of 1,024 characters, 180 KiB, and
// of the content type. A backup holds up to 501 versions, in base64 twice.
const (
	maxSetBody     = 384 << 10
	maxUpdateBody  = 256 << 10
	maxRestoreBody = 48 << 20
)

func (f *face) declareSecrets(t *operation.Table) {
	const object, vault = operation.ObjectLevel, operation.VaultLevel
	const writes = operation.WritesVault
	operation.Handle(t, operation.Op{
		Name: "SecretSet", Method: "PUT", Path: "/secrets/{secret-name}",
		Action: secretActions + "setSecret/action", Level: object, Writes: writes, MaxBody: maxSetBody,
		Summary: "Set a secret: store a new version, which becomes the latest.",
	}, f.setSecret)
	operation.Handle(t, operation.Op{
		Name: "SecretGet", Method: "GET", Path: "/secrets/{secret-name}/{secret-version?}",
		Action: secretActions + "getSecret/action", Level: object,
		Summary: "Get the value of a secret: the latest version unless one is named.",
	}, f.getSecret)
	operation.Handle(t, operation.Op{
		Name: "SecretUpdate", Method: "PATCH", Path: "/secrets/{secret-name}/{secret-version?}",
		Action: secretActions + "update/action", Level: object, Writes: writes, MaxBody: maxUpdateBody,
		Summary: "Change content type, attributes or tags of a version: the latest unless one is named.",
	}, f.updateSecret)
	operation.Handle(t, operation.Op{
		Name: "SecretDelete", Method: "DELETE", Path: "/secrets/{secret-name}",
		Action: secretActions + "delete", Level: object, Writes: writes,
		Summary: "Delete a secret with all its versions; it can be recovered until its purge.",
	}, f.deleteSecret)
	operation.Handle(t, operation.Op{
		Name: "SecretList", Method: "GET", Path: "/secrets",
		Action: secretActions + "readMetadata/action", Level: vault,
		Summary: "List the secrets of a vault, without values.",
	}, f.listSecrets)
	operation.Handle(t, operation.Op{
		Name: "SecretListVersions", Method: "GET", Path: "/secrets/{secret-name}/versions",
		Action: secretActions + "readMetadata/action", Level: object,
		Summary: "List the versions of a secret, without values.",
	}, f.listVersions)
	operation.Handle(t, operation.Op{
		Name: "SecretBackup", Method: "POST", Path: "/secrets/{secret-name}/backup",
		Action: secretActions + "backup/action", Level: object,
		Summary: "Back up a secret with all its versions into a sealed blob.",
	}, f.backupSecret)
	operation.Handle(t, operation.Op{
		Name: "SecretRestore", Method: "POST", Path: "/secrets/restore",
		Action: secretActions + "restore/action", Level: vault, Writes: writes, MaxBody: maxRestoreBody,
		Summary: "Restore a secret from a backup blob; its name must be free.",
	}, f.restoreSecret)
	operation.Handle(t, operation.Op{
		Name: "SecretListDeleted", Method: "GET", Path: "/deletedsecrets",
		Action: secretActions + "readMetadata/action", Level: vault,
		Summary: "List the deleted secrets of a vault.",
	}, f.listDeletedSecrets)
	operation.Handle(t, operation.Op{
		Name: "SecretGetDeleted", Method: "GET", Path: "/deletedsecrets/{secret-name}",
		Action: secretActions + "readMetadata/action", Level: object,
		Summary: "Get a deleted secret, without its value.",
	}, f.getDeletedSecret)
	operation.Handle(t, operation.Op{
		Name: "SecretRecover", Method: "POST", Path: "/deletedsecrets/{secret-name}/recover",
		Action: secretActions + "recover/action", Level: object, Writes: writes,
		Summary: "Recover a deleted secret with all its versions.",
	}, f.recoverSecret)
	operation.Handle(t, operation.Op{
		Name: "SecretPurge", Method: "DELETE", Path: "/deletedsecrets/{secret-name}",
		Action: secretActions + "purge/action", Level: object, Writes: writes, Status: 204,
		Summary: "Remove a deleted secret for good.",
	}, f.purgeSecret)
}

// name returns the secret's name, checked.
func name(c *operation.Call) (string, error) {
	n := c.Param(secretName)
	c.Served("secrets", n, c.Param(secretVersion), c.Param(secretVersion) != "")
	return n, secrets.CheckName(n)
}

func (f *face) setSecret(ctx context.Context, c *operation.Call, in SecretSet) (SecretBundle, error) {
	n, err := name(c)
	if err != nil {
		return SecretBundle{}, err
	}
	d := in.draft()
	if err := d.Check(); err != nil {
		return SecretBundle{}, err
	}
	version := secrets.NewVersion()
	c.Served("secrets", n, version, false)
	return operation.Change(ctx, c, func(c *operation.Call, tx *db.Tx) (SecretBundle, error) {
		s, err := f.secrets.Set(tx, c.Vault, n, version, d)
		return newBundle(c, s), err
	})
}

func (f *face) getSecret(ctx context.Context, c *operation.Call, _ operation.None) (answer operation.Encoded[SecretBundle], err error) {
	n, err := name(c)
	if err != nil {
		return answer, err
	}
	if kind := c.Query.Get("outcontenttype"); kind != "" && kind != "application/x-pem-file" {
		return answer, apierr.BadRequest("BadParameter", "outContentType: want application/x-pem-file.")
	}
	form := secrets.Form{BaseURL: c.BaseURL(), RecoveryLevel: c.Vault.RecoveryLevel(), RecoverableDays: c.Vault.RetentionDays}
	encode := func(s secrets.Secret) (envelope.Value, error) {
		e, err := operation.Encode(newBundle(c, s))
		return e.Body, err
	}
	var a secrets.Answer
	err = c.View(ctx, func(tx *db.Tx) (err error) {
		a, err = f.secrets.Answer(tx, c.Vault, n, c.Param(secretVersion), form, encode)
		return err
	})
	if err != nil {
		return answer, err
	}
	c.Served("secrets", a.Name, a.Version, c.Param(secretVersion) != "")
	answer.Body = a.Body
	return answer, nil
}

func (f *face) updateSecret(ctx context.Context, c *operation.Call, in SecretUpdate) (SecretItem, error) {
	n, err := name(c)
	if err != nil {
		return SecretItem{}, err
	}
	p := in.patch()
	if err := p.Check(); err != nil {
		return SecretItem{}, err
	}
	return operation.Change(ctx, c, func(c *operation.Call, tx *db.Tx) (SecretItem, error) {
		s, err := f.secrets.Update(tx, c.Vault, n, c.Param(secretVersion), p)
		c.Served("secrets", n, s.Version, c.Param(secretVersion) != "")
		return newVersion(c, s), err
	})
}

func (f *face) deleteSecret(ctx context.Context, c *operation.Call, _ operation.None) (DeletedSecretItem, error) {
	n, err := name(c)
	if err != nil {
		return DeletedSecretItem{}, err
	}
	return operation.Change(ctx, c, func(c *operation.Call, tx *db.Tx) (DeletedSecretItem, error) {
		d, err := f.secrets.Delete(tx, c.Vault, n)
		return newDeleted(c, d, newVersion(c, d.Secret)), err
	})
}

func (f *face) getDeletedSecret(ctx context.Context, c *operation.Call, _ operation.None) (DeletedSecretItem, error) {
	n, err := name(c)
	if err != nil {
		return DeletedSecretItem{}, err
	}
	var d secrets.Deleted
	err = c.View(ctx, func(tx *db.Tx) (err error) {
		d, err = f.secrets.GetDeleted(tx, c.Vault, n)
		return err
	})
	return newDeleted(c, d, newVersion(c, d.Secret)), err
}

func (f *face) recoverSecret(ctx context.Context, c *operation.Call, _ operation.None) (SecretItem, error) {
	n, err := name(c)
	if err != nil {
		return SecretItem{}, err
	}
	return operation.Change(ctx, c, func(c *operation.Call, tx *db.Tx) (SecretItem, error) {
		s, err := f.secrets.Recover(tx, c.Vault, n)
		return newVersion(c, s), err
	})
}

func (f *face) purgeSecret(ctx context.Context, c *operation.Call, _ operation.None) (operation.None, error) {
	n, err := name(c)
	if err != nil {
		return operation.None{}, err
	}
	return operation.None{}, c.Update(ctx, func(c *operation.Call, tx *db.Tx) error { return f.secrets.Purge(tx, c.Vault, n, c.IsSystem()) })
}

func (f *face) backupSecret(ctx context.Context, c *operation.Call, _ operation.None) (BackupBlob, error) {
	n, err := name(c)
	if err != nil {
		return BackupBlob{}, err
	}
	var blob []byte
	err = c.View(ctx, func(tx *db.Tx) (err error) {
		blob, err = f.secrets.Backup(tx, c.Vault, n)
		return err
	})
	return BackupBlob{Value: base64.RawURLEncoding.EncodeToString(blob)}, err
}

func (f *face) restoreSecret(ctx context.Context, c *operation.Call, in BackupBlob) (SecretItem, error) {
	blob, err := decodeBase64(in.Value)
	if err != nil {
		return SecretItem{}, err
	}
	a, err := f.secrets.OpenArchive(blob)
	if err != nil {
		return SecretItem{}, err
	}
	c.Served("secrets", a.Name, "", false)
	return operation.Change(ctx, c, func(c *operation.Call, tx *db.Tx) (SecretItem, error) {
		s, err := f.secrets.Restore(tx, c.Vault, a, c.BaseURL()+"/secrets/"+a.Name)
		return newVersion(c, s), err
	})
}

// decodeBase64 takes base64url or base64, padded or not, as clients send all four.
func decodeBase64(s string) ([]byte, error) {
	s = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(s, "="))
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, apierr.BadRequest("BadParameter", "Property has invalid value\r\nvalue is no base64url.")
	}
	return b, nil
}
