package server

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"

	"strongroom/internal/config"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

// Keys of the meta table that init writes.
const (
	metaTenant          = "tenant_id"
	metaSubscription    = "subscription_id"
	metaDeployment      = "deployment_id"
	metaGroup           = "default_group"
	metaPassphrase      = "passphrase_parameters"
	metaDefaultIdentity = "default_identity"
)

// A deployment is who this database belongs to, as init decided it.
type deployment struct {
	id, tenant, subscription, group string
	passphrase                      string // parameters of the passphrase provider, JSON, or ""
}

// errNotInitialised says what to type.
var errNotInitialised = errors.New(`the database is not initialised: run "strongroom init" first`)

// readDeployment reads what the database says of itself. Before the database is bound to its keyring
// that is not proven: it is good for opening the keyring, and has to be read again then.
func readDeployment(tx *db.Tx) (deployment, error) {
	var d deployment
	for key, to := range map[string]*string{
		metaDeployment: &d.id, metaTenant: &d.tenant, metaSubscription: &d.subscription,
		metaGroup: &d.group, metaPassphrase: &d.passphrase,
	} {
		v, err := tx.Meta(key)
		if err != nil {
			return deployment{}, err
		}
		*to = v
	}
	if d.tenant == "" {
		return deployment{}, errNotInitialised
	}
	return d, nil
}

func (d deployment) store(tx *db.Tx) error {
	for key, value := range map[string]string{
		metaDeployment: d.id, metaTenant: d.tenant, metaSubscription: d.subscription,
		metaGroup: d.group, metaPassphrase: d.passphrase,
	} {
		if err := tx.SetMeta(key, value); err != nil {
			return err
		}
	}
	return nil
}

// openRootKey opens the root key that the configuration names. parameters are those of the
// passphrase provider as the database holds them.
func openRootKey(cfg config.Config, parameters string) (envelope.RootKey, error) {
	if cfg.RootKey.PassphraseFile == "" {
		return envelope.OpenRootKeyFile(cfg.RootKey.File, cfg.DataDir, cfg.RootKey.InsideDataDir)
	}
	var p envelope.PassphraseParameters
	if err := json.Unmarshal([]byte(parameters), &p); err != nil {
		return nil, errors.New("root_key.passphrase_file is set, but this database was made with a key file: set root_key.file")
	}
	passphrase, err := readPassphrase(cfg)
	if err != nil {
		return nil, err
	}
	return envelope.OpenPassphraseRootKey(passphrase, p)
}

func readPassphrase(cfg config.Config) ([]byte, error) {
	b, err := config.ReadSecretFile(cfg.RootKey.PassphraseFile)
	if err != nil {
		return nil, fmt.Errorf("root_key.passphrase_file: %w", err)
	}
	return []byte(strings.TrimRight(string(b), "\r\n")), nil
}

// createRootKey makes a root key where the configuration wants it. A key file that is there
// already is used: it may have been made on purpose, and is never overwritten.
func createRootKey(cfg config.Config) (root envelope.RootKey, parameters string, err error) {
	if cfg.RootKey.PassphraseFile != "" {
		passphrase, err := readPassphrase(cfg)
		if err != nil {
			return nil, "", err
		}
		root, p, err := envelope.NewPassphraseRootKey(passphrase)
		if err != nil {
			return nil, "", err
		}
		b, err := json.Marshal(p)
		return root, string(b), err
	}
	if !exists(cfg.RootKey.File) {
		if err := envelope.CreateRootKeyFile(cfg.RootKey.File); err != nil {
			return nil, "", err
		}
	}
	root, err = envelope.OpenRootKeyFile(cfg.RootKey.File, cfg.DataDir, cfg.RootKey.InsideDataDir)
	return root, "", err
}

// storeRing stores the keys of a new keyring, sealed under the root key.
func storeRing(tx *db.Tx, tenant string, keys []envelope.SealedKey) error {
	const q = `
		INSERT INTO keyring (ordinal, tenant_id, key_id, purpose, root_key_id, key_sealed, created_us)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`
	for i, k := range keys {
		_, err := tx.Exec(q, i+1, tenant, k.KeyID, k.Purpose, k.RootKeyID, k.Sealed, tx.Micros())
		if err != nil {
			return fmt.Errorf("store the keyring: %w", err)
		}
	}
	return nil
}

// loadRing opens the keyring of the database.
func loadRing(ctx context.Context, d *db.DB, root envelope.RootKey, deployment string) (*envelope.Ring, error) {
	var keys []envelope.SealedKey
	err := d.View(ctx, func(tx *db.Tx) error {
		const q = `SELECT key_id, purpose, root_key_id, key_sealed FROM keyring ORDER BY ordinal`
		return tx.Query(func(row db.Scanner) error {
			var k envelope.SealedKey
			err := row.Scan(&k.KeyID, &k.Purpose, &k.RootKeyID, &k.Sealed)
			keys = append(keys, k)
			return err
		}, q)
	})
	if err != nil {
		return nil, fmt.Errorf("read the keyring: %w", err)
	}
	return envelope.OpenRing(root, deployment, keys)
}
