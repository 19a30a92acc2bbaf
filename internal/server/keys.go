package server

import (
	"bytes"
	"errors"
	"fmt"

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
var errNotInitialised = errors.New(`the database is not initialised: run "strongroom init" first, with the same --config or --data-dir`)

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

// openRootKeys opens the root keys that the configuration names, the newest last. parameters are those
// of the passphrase provider as the database holds them.
func openRootKeys(cfg config.Config, parameters string) ([]envelope.RootKey, error) {
	if cfg.RootKey.PassphraseFile == "" {
		return envelope.OpenRootKeyFile(cfg.RootKey.File, cfg.DataDir, cfg.RootKey.InsideDataDir)
	}
	all, err := parsePassphraseParameters(parameters)
	if err != nil {
		return nil, err
	}
	passphrases, err := readPassphrases(cfg)
	if err != nil {
		return nil, err
	}
	return envelope.OpenPassphraseRootKeys(passphrases, all)
}

// parsePassphraseParameters reads what the meta table holds: those of one root key, or of several
// while it is being changed, the newest last.
func parsePassphraseParameters(text string) (all []envelope.PassphraseParameters, err error) {
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) == 0 {
		return nil, errors.New("root_key.passphrase_file is set, but this database was made with a key file: set root_key.file")
	}
	return all, nil
}

// readPassphrases reads one passphrase a line: there is more than one only while it is being changed.
func readPassphrases(cfg config.Config) (lines [][]byte, err error) {
	b, err := config.ReadSecretFile(cfg.RootKey.PassphraseFile)
	if err != nil {
		return nil, fmt.Errorf("root_key.passphrase_file: %w", err)
	}
	for line := range bytes.Lines(b) {
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 || len(lines) > maxPassphrases {
		return nil, fmt.Errorf("root_key.passphrase_file: found %d lines, want one passphrase a line, at most %d", len(lines), maxPassphrases)
	}
	return lines, nil
}

// maxPassphrases bounds what a start tries, at most of a second each.
const maxPassphrases = 4

// createRootKey makes a root key where the configuration wants it. A key file that is there
// already is used: it may have been made on purpose, and is never overwritten.
func createRootKey(cfg config.Config) (roots *envelope.RootKeys, parameters string, err error) {
	if cfg.RootKey.PassphraseFile != "" {
		lines, err := readPassphrases(cfg)
		if err != nil {
			return nil, "", err
		}
		root, p, err := envelope.NewPassphraseRootKey(lines[len(lines)-1])
		if err != nil {
			return nil, "", err
		}
		b, err := json.Marshal([]envelope.PassphraseParameters{p})
		return envelope.NewRootKeys(root), string(b), err
	}
	if !exists(cfg.RootKey.File) {
		if err := envelope.CreateRootKeyFile(cfg.RootKey.File); err != nil {
			return nil, "", err
		}
	}
	keys, err := envelope.OpenRootKeyFile(cfg.RootKey.File, cfg.DataDir, cfg.RootKey.InsideDataDir)
	return envelope.NewRootKeys(keys...), "", err
}
