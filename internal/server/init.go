package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"strongroom/internal/config"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/keyring"
	"strongroom/internal/vaults"
)

// An InitReport says what Init made.
type InitReport struct {
	Tenant, Subscription, Group string
	DataDir                     string
	RootKeyFile                 string // "" with a passphrase
}

// Init makes the root key, the schema, the keyring, and a tenant with one subscription and one
// resource group. It refuses a database that has been initialised. If the process dies before
// the last commit, Init can be run again: it uses the key file that is there.
func Init(ctx context.Context, o Options) (InitReport, error) {
	cfg := o.Config
	if err := checkInit(ctx, cfg); err != nil {
		return InitReport{}, err
	}
	if err := makeDataDir(cfg); err != nil {
		return InitReport{}, err
	}
	d, err := openWith(ctx, cfg, db.Options{Create: true}, db.Open)
	if err != nil {
		return InitReport{}, err
	}
	defer d.Close()
	if err := checkUninitialised(ctx, d); err != nil {
		return InitReport{}, err
	}
	if err := checkUnserved(cfg); err != nil {
		return InitReport{}, err
	}
	if cfg.RootKey.File != "" {
		if err := os.MkdirAll(filepath.Dir(cfg.RootKey.File), 0o700); err != nil {
			return InitReport{}, fmt.Errorf("root_key.file: %w", err)
		}
	}
	roots, parameters, err := createRootKey(cfg)
	if err != nil {
		return InitReport{}, err
	}
	dep := deployment{
		id: db.NewGUID(), tenant: db.NewGUID(), subscription: db.NewGUID(), group: "default", passphrase: parameters,
	}
	if err := dep.make(ctx, d, roots, o); err != nil {
		return InitReport{}, fmt.Errorf("initialise the database: %w", err)
	}
	return InitReport{dep.tenant, dep.subscription, dep.group, cfg.DataDir, cfg.RootKey.File}, nil
}

func checkUninitialised(ctx context.Context, d *db.DB) error {
	err := d.View(ctx, func(tx *db.Tx) error {
		_, err := readDeployment(tx)
		return err
	})
	switch {
	case err == nil:
		return errors.New("the database is initialised already: nothing was changed")
	case errors.Is(err, errNotInitialised):
		return nil
	}
	return err
}

// make fills a new database, or nothing of it.
func (d deployment) make(ctx context.Context, in *db.DB, roots *envelope.RootKeys, o Options) error {
	ring, keys, err := envelope.NewRing(roots, d.id)
	if err != nil {
		return err
	}
	in.Bind(d.tenant, ring)
	return in.Update(ctx, []string{db.Directory}, func(tx *db.Tx) error {
		if _, err := readDeployment(tx); !errors.Is(err, errNotInitialised) {
			return errors.Join(errors.New("another process initialised the database meanwhile"), err)
		}
		if err := errors.Join(d.store(tx), tx.SealSchema()); err != nil {
			return err
		}
		if o.TestClock {
			if err := tx.SetMeta(db.MetaTestClock, "1"); err != nil {
				return err
			}
		}
		if err := keyring.Create(tx, d.tenant, roots.Newest(), keys); err != nil {
			return err
		}
		store := &vaults.Store{Ring: ring, Tenant: d.tenant}
		_, _, err := store.PutGroup(tx, vaults.ResourceGroup{Subscription: d.subscription, Name: d.group, Location: o.Config.Region})
		return err
	})
}

// checkInit refuses, before anything is made, what Init would refuse later.
func checkInit(ctx context.Context, cfg config.Config) error {
	at, err := databaseOptions(cfg)
	if err != nil {
		return err
	}
	exists, err := db.Look(ctx, at)
	if err == nil && !exists {
		err = checkUnserved(cfg)
	}
	if err != nil {
		return err
	}
	return checkRootKey(cfg)
}

// checkRootKey refuses what no root key can be made of.
func checkRootKey(cfg config.Config) error {
	if cfg.RootKey.PassphraseFile != "" {
		lines, err := readPassphrases(cfg)
		if err == nil {
			err = envelope.CheckPassphrase(lines[len(lines)-1])
		}
		return err
	}
	if exists(cfg.RootKey.File) {
		_, err := envelope.OpenRootKeyFile(cfg.RootKey.File, cfg.DataDir, cfg.RootKey.InsideDataDir)
		return err
	}
	return nil
}

// checkUnserved refuses a folder whose database was lost: a new deployment in its place would look to
// every client as if all secrets had been deleted.
func checkUnserved(cfg config.Config) error {
	had, found, err := loadProgress(cfg)
	if err == nil && found {
		err = fmt.Errorf("this folder has served the deployment %s, and its database is gone: put a backup back (strongroom restore --from). "+
			"If another deployment is meant, set data_dir to another folder, or remove %s first", had.Deployment, progressFile(cfg))
	}
	return err
}

// openWith opens the database of the configuration with what is added to that, by db.Open or db.Peek.
func openWith(ctx context.Context, cfg config.Config, o db.Options, open func(context.Context, db.Options) (*db.DB, error)) (*db.DB, error) {
	at, err := databaseOptions(cfg)
	if err != nil {
		return nil, err
	}
	o.Engine, o.Path, o.Connections, o.URL = at.Engine, at.Path, at.Connections, at.URL
	return open(ctx, o)
}

func databaseOptions(cfg config.Config) (o db.Options, err error) {
	o = db.Options{
		Engine: db.Engine(cfg.Database.Engine), Path: cfg.Database.Path, Connections: cfg.Database.Connections,
	}
	if o.Engine == db.PostgreSQL {
		o.URL, err = cfg.Database.ConnectionString()
	}
	return o, err
}

// newDevApp is newApp, after init where dev has not been started before.
func newDevApp(ctx context.Context, o Options, log *slog.Logger) (*app, error) {
	a, err := newApp(ctx, o, log)
	if !errors.Is(err, errNotInitialised) {
		return a, err
	}
	if err := checkFree(o.Config); err != nil { // or a deployment would be made that cannot be served
		return nil, err
	}
	if _, err := Init(ctx, o); err != nil {
		return nil, err
	}
	return newApp(ctx, o, log)
}
