// Package event is the transactional outbox: what happened is written in the transaction in
// which it happened, and delivered later by whoever follows. Nobody can subscribe yet, so
// Prune removes what was written.
package event

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/internal/db"
)

// SecretNewVersionCreated is the type of the event that a new version of a secret raises
// (Azure Event Grid, system topic Microsoft.KeyVault.vaults).
const SecretNewVersionCreated = "Microsoft.KeyVault.SecretNewVersionCreated"

// Data is the payload that all Key Vault events share. Ids are completed at delivery, from the
// default name family.
type Data struct {
	VaultName  string `json:"VaultName"`
	ObjectType string `json:"ObjectType"` // Secret, Key or Certificate
	ObjectName string `json:"ObjectName"`
	Version    string `json:"Version"`
	NBF        *int64 `json:"NBF"` // seconds since 1970, or null
	EXP        *int64 `json:"EXP"`
}

// Add writes an event into the outbox. Its id rises with the time: the outbox grows at one end, and is
// pruned at the other.
func Add(tx *db.Tx, tenant, vaultID, kind string, data Data) error {
	b, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	const q = `
		INSERT INTO events (event_id, tenant_id, vault_id, type, subject, data, created_us)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`
	_, err = tx.Exec(q, db.NewGUIDAt(tx.Now), tenant, vaultID, kind, data.ObjectName, string(b), tx.Micros())
	if err != nil {
		return fmt.Errorf("store an event: %w", err)
	}
	return nil
}

// Prune removes events older than keep, to the millisecond, and says how many.
func Prune(tx *db.Tx, keep time.Duration) (int64, error) {
	n, err := tx.Exec(`DELETE FROM events WHERE event_id < $1`, db.FirstGUIDAt(tx.Now.Add(-keep)))
	if err != nil {
		return 0, fmt.Errorf("prune events: %w", err)
	}
	return n, nil
}
