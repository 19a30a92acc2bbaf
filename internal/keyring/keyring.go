// Package keyring keeps the keys of the deployment in the database: the ring keys, which root key
// wraps them and all data keys, and the change from one root key to the next.
//
// The threat is a change that ends half-way: something still wrapped by a key that its owner has
// destroyed, or wrapped by one that another node does not have. So which root key wraps is one row,
// read by whoever wraps, in the transaction that stores what it wraps. It changes only when every
// node has said that it holds the new key, and "done" is said only when nothing is left that the
// old one wraps.
package keyring

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

// Names of settings. They are members of the directory's set: an old row that is put back, so that
// a key of the past wraps again, is noticed.
const (
	rootKeySetting = "root_key_id"  // that wraps what is stored from now on
	pendingSetting = "keys_pending" // "1" while something may be wrapped or sealed by an old key
)

// Create stores the keys of a new keyring, which the given root key wraps.
func Create(tx *db.Tx, tenant, rootKeyID string, keys []envelope.SealedKey) error {
	const q = `
		INSERT INTO keyring (ordinal, tenant_id, key_id, purpose, root_key_id, key_sealed, created_us)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`
	for i, k := range keys {
		_, err := tx.Exec(q, i+1, tenant, k.KeyID, k.Purpose, k.RootKeyID, k.Sealed, tx.Micros())
		if err != nil {
			return fmt.Errorf("store the keyring: %w", err)
		}
	}
	return set(tx, tenant, rootKeySetting, rootKeyID)
}

func set(tx *db.Tx, tenant, name, value string) error {
	return tx.Replace(db.Settings, tenant, name, value)
}

func get(tx *db.Tx, name string) (value string, err error) {
	type row struct{ tenant, name, value string }
	q := `SELECT ` + db.Settings.Columns("") + ` FROM settings WHERE name = $1`
	r, found, err := db.ReadRow(tx, db.Settings, func(s db.Scanner) (r row, seal db.Seal, err error) {
		err = s.Scan(&r.tenant, &r.name, &r.value, &seal.MAC)
		seal.Fields = []any{r.tenant, r.name, r.value}
		return r, seal, err
	}, q, name)
	switch {
	case err != nil:
		return "", err
	case !found:
		return "", tx.Absent(db.Settings, nil, name, nil)
	case r.name != name:
		return "", db.Settings.NotAsked(name)
	}
	return r.value, nil
}

// Open opens the keyring of the database with the root keys at hand.
func Open(ctx context.Context, d *db.DB, roots *envelope.RootKeys, deployment string) (*envelope.Ring, error) {
	var keys []envelope.SealedKey
	err := d.View(ctx, func(tx *db.Tx) (err error) {
		keys, err = stored(tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return envelope.OpenRing(roots, deployment, keys)
}

// Prove says whether the keyring that is stored is still the one that the database is bound to: the next
// start will want it.
func Prove(tx *db.Tx, roots *envelope.RootKeys, deployment string) error {
	keys, err := stored(tx)
	if err != nil {
		return err
	}
	ring, err := envelope.OpenRing(roots, deployment, keys)
	if err == nil && !ring.HasKeysOf(tx.Ring()) {
		err = fmt.Errorf("a key was added or is missing: %w", envelope.ErrTampered)
	}
	return err
}

func stored(tx *db.Tx) (keys []envelope.SealedKey, err error) {
	const q = `SELECT key_id, purpose, root_key_id, key_sealed FROM keyring ORDER BY ordinal`
	err = tx.Query(func(row db.Scanner) error {
		var k envelope.SealedKey
		err := row.Scan(&k.KeyID, &k.Purpose, &k.RootKeyID, &k.Sealed)
		keys = append(keys, k)
		return err
	}, q)
	if err != nil {
		return nil, fmt.Errorf("read the keyring: %w", err)
	}
	return keys, nil
}

// Wrapping is the id of the root key that wraps whatever the transaction stores. Who stores a wrapped
// key reads it under the lock of db.Directory.
func Wrapping(tx *db.Tx) (string, error) {
	id, err := get(tx, rootKeySetting)
	if err == nil && id == "" {
		err = fmt.Errorf("the root key that wraps is not named: %w", envelope.ErrTampered)
	}
	return id, err
}

// ChangeLocks are the locks of an Update that changes keys.
func ChangeLocks() []string { return []string{db.Directory} }

// Change makes another root key the one that wraps, wraps the keyring by it, and leaves the data keys
// of the vaults for the work that Pending asks for.
func Change(tx *db.Tx, tenant string, ring *envelope.Ring, rootKeyID string) error {
	keys, err := stored(tx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k, err = ring.Rewrap(k, rootKeyID); err != nil {
			return fmt.Errorf("wrap the keyring by root key %s: %w", rootKeyID, err)
		}
		_, err := tx.Exec(`UPDATE keyring SET root_key_id = $1, key_sealed = $2 WHERE key_id = $3`, k.RootKeyID, k.Sealed, k.KeyID)
		if err != nil {
			return fmt.Errorf("store the keyring: %w", err)
		}
	}
	if err := set(tx, tenant, rootKeySetting, rootKeyID); err != nil {
		return err
	}
	return SetPending(tx, tenant, true)
}

// SetPending says whether some data key or value may stand under an old key. The transaction holds
// ChangeLocks.
func SetPending(tx *db.Tx, tenant string, pending bool) error {
	value := ""
	if pending {
		value = "1"
	}
	return set(tx, tenant, pendingSetting, value)
}

// Pending says whether there is something left to wrap or seal anew.
func Pending(tx *db.Tx) (bool, error) {
	value, err := get(tx, pendingSetting)
	return value != "", err
}

// Nodes say by leases that they live and which root keys they hold: no other table, no other clock.
const (
	nodePrefix = "node/"
	keyPrefix  = "root-key/"
	// heldFor is how long a node that fell silent counts as alive.
	heldFor = 45 * time.Second
	// HoldEvery is how often a node says it.
	HoldEvery = 5 * time.Second
)

// Hold says that a node lives and holds these root keys. Ids hold no slash.
func Hold(tx *db.Tx, node string, rootKeyIDs []string) error {
	names := []string{nodePrefix + node}
	for _, id := range rootKeyIDs {
		names = append(names, keyPrefix+id+"/"+node)
	}
	var errs error
	for _, name := range names {
		_, _, err := tx.Lease(name, node, heldFor)
		errs = errors.Join(errs, err)
	}
	return errs
}

// Holders lists the nodes that live, and for each root key those that hold it.
func Holders(tx *db.Tx) (nodes []string, byKey map[string][]string, err error) {
	byKey = map[string][]string{}
	const q = `SELECT name FROM leases WHERE expires_us > $1 ORDER BY name`
	err = tx.Query(func(row db.Scanner) error {
		var name string
		err := row.Scan(&name)
		if node, ok := strings.CutPrefix(name, nodePrefix); ok {
			nodes = append(nodes, node)
		}
		if rest, ok := strings.CutPrefix(name, keyPrefix); ok {
			id, node, _ := strings.Cut(rest, "/")
			byKey[id] = append(byKey[id], node)
		}
		return err
	}, q, tx.Micros())
	if err != nil {
		return nil, nil, fmt.Errorf("list the nodes: %w", err)
	}
	return nodes, byKey, nil
}

// Forget removes the leases of nodes that are long gone, so that their number stays bounded.
func Forget(tx *db.Tx) error {
	const q = `DELETE FROM leases WHERE expires_us < $1 AND (name LIKE 'node/%' OR name LIKE 'root-key/%')`
	if _, err := tx.Exec(q, tx.Now.Add(-24*time.Hour).UnixMicro()); err != nil {
		return fmt.Errorf("forget nodes that are gone: %w", err)
	}
	return nil
}

// Wrapped counts the ring keys by the root key that wraps them.
func Wrapped(tx *db.Tx) (map[string]int, error) {
	keys, err := stored(tx)
	counts := map[string]int{}
	for _, k := range keys {
		counts[k.RootKeyID]++
	}
	return counts, err
}
