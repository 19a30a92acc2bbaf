package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/internal/apierr"
	"strongroom/internal/config"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/keyring"
)

// rootKeys looks again and again which root keys the configuration names: while the root key is being
// changed, its file gets another line, and a running server takes it up.
type rootKeys struct {
	config config.Config
	db     *db.DB
	keys   *envelope.RootKeys // in use; none goes while the process runs

	mu   sync.Mutex
	seen [sha256.Size]byte // of what was read last; guarded by mu
	ids  []string          // of the keys that would be at hand after a start; guarded by mu
}

// look takes up new root keys. It returns the ids of those that a start would find now, the newest
// last, and an error when it would not find the one that wraps what is stored.
func (r *rootKeys) look(ctx context.Context) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var parameters, wrapping string
	err := r.db.View(ctx, func(tx *db.Tx) (err error) {
		if parameters, err = tx.Meta(metaPassphrase); err == nil {
			wrapping, err = keyring.Wrapping(tx)
		}
		return err
	})
	if err != nil {
		return r.ids, err
	}
	if err := r.read(parameters); err != nil {
		return r.ids, fmt.Errorf("the root key is not at hand for the next start: %w", err)
	}
	if !slices.Contains(r.ids, wrapping) {
		return r.ids, fmt.Errorf("the root key %s, which wraps what is stored, is not at hand for the next start: put it back", wrapping)
	}
	return r.ids, nil
}

// read opens the root keys again when their file or the parameters have changed: that of a passphrase
// takes a moment.
func (r *rootKeys) read(parameters string) error {
	name := r.config.RootKey.File
	if r.config.RootKey.PassphraseFile != "" {
		name = r.config.RootKey.PassphraseFile
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	h := sha256.New()
	h.Write(text) // not joined with the parameters: a copy of the key would stay in memory
	h.Write([]byte(parameters))
	sum := [sha256.Size]byte(h.Sum(nil))
	clear(text)
	if sum == r.seen {
		return nil
	}
	found, err := openRootKeys(r.config, parameters)
	if err != nil {
		return err
	}
	r.seen, r.ids = sum, nil
	for _, k := range found {
		r.ids = append(r.ids, k.ID())
	}
	r.keys.Add(found...)
	return nil
}

// knownWithin is how long all nodes have to take up a new root key: twice as long as they look away.
const knownWithin = 2 * keyring.HoldEvery

// nextRootKey is the root key that the next change is to, when all nodes have it.
func (a *app) nextRootKey(ctx context.Context) (id string, err error) {
	if err := a.roots.makeParameters(ctx); err != nil {
		return "", err
	}
	ids, err := a.roots.look(ctx)
	if err != nil {
		return "", apierr.Conflict("RootKeyMissing", "%s", err)
	}
	id = ids[len(ids)-1]
	var lacking []string
	for deadline := time.Now().Add(knownWithin); ; {
		err := a.db.Update(ctx, nil, func(tx *db.Tx) error { return keyring.Hold(tx, a.scheduler.Node, ids) })
		if err == nil {
			err = a.db.View(ctx, func(tx *db.Tx) (err error) {
				lacking, err = nodesWithout(tx, id)
				return err
			})
		}
		if err != nil || len(lacking) == 0 {
			return id, err
		}
		if time.Now().After(deadline) {
			break
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return "", apierr.Conflict("RootKeyNotEverywhere", "The root key %s is not at hand on %s. Nothing was changed: bring it there, wait some seconds, and try again.",
		id, strings.Join(lacking, ", "))
}

// nodesWithout lists the living nodes that lack a root key. It refuses the key that wraps already.
func nodesWithout(tx *db.Tx, id string) (lacking []string, err error) {
	wrapping, err := keyring.Wrapping(tx)
	if err != nil {
		return nil, err
	}
	if wrapping == id {
		return nil, apierr.Conflict("NoNewRootKey", "The newest root key at hand, %s, wraps what is stored already. Add another one to the file of root keys on every node first.", id)
	}
	nodes, byKey, err := keyring.Holders(tx)
	for _, node := range nodes {
		if !slices.Contains(byKey[id], node) {
			lacking = append(lacking, node)
		}
	}
	return lacking, err
}

// makeParameters makes a root key of the last passphrase of the file, if it gives none yet.
func (r *rootKeys) makeParameters(ctx context.Context) error {
	if r.config.RootKey.PassphraseFile == "" {
		return nil
	}
	lines, err := readPassphrases(r.config)
	if err != nil {
		return apierr.Conflict("RootKeyMissing", "%s", err)
	}
	var all []envelope.PassphraseParameters
	err = r.db.View(ctx, func(tx *db.Tx) error {
		text, err := tx.Meta(metaPassphrase)
		if err == nil {
			all, err = parsePassphraseParameters(text)
		}
		return err
	})
	if err != nil {
		return err
	}
	_, err = envelope.OpenPassphraseRootKeys(lines[len(lines)-1:], all)
	if !errors.Is(err, envelope.ErrWrongPassphrase) {
		return err // it gives a key already
	}
	_, p, err := envelope.NewPassphraseRootKey(lines[len(lines)-1])
	if err != nil {
		return apierr.Conflict("PassphraseTooShort", "%s", err)
	}
	text, err := json.Marshal(append(all[max(0, len(all)+1-maxPassphrases):], p))
	if err != nil {
		return err
	}
	return r.db.Update(ctx, keyring.ChangeLocks(), func(tx *db.Tx) error { return tx.SetMeta(metaPassphrase, string(text)) })
}

// forgetPassphrases drops the parameters of passphrases from before the one whose root key wraps now.
// A newer one may be about to.
func forgetPassphrases(tx *db.Tx) error {
	text, err := tx.Meta(metaPassphrase)
	if err != nil || text == "" {
		return err
	}
	all, err := parsePassphraseParameters(text)
	if err != nil {
		return err
	}
	wrapping, err := keyring.Wrapping(tx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(p envelope.PassphraseParameters) bool { return p.KeyID == wrapping })
	if i <= 0 {
		return nil
	}
	left, err := json.Marshal(all[i:])
	if err != nil {
		return err
	}
	return tx.SetMeta(metaPassphrase, string(left))
}
