package db

import (
	"fmt"

	"strongroom/internal/envelope"
)

// ProveSchema refuses views, triggers and rules: we have none, and they answer for tables, or act
// behind our statements.
func (t *Tx) ProveSchema() error {
	q := `SELECT type, name FROM sqlite_master WHERE type IN ('view', 'trigger')`
	if t.db.engine.name == PostgreSQL {
		q = `
			SELECT 'view', viewname FROM pg_catalog.pg_views WHERE schemaname = current_schema()
			UNION ALL
			SELECT 'rule', rulename FROM pg_catalog.pg_rules WHERE schemaname = current_schema()
			UNION ALL
			SELECT 'trigger', t.tgname FROM pg_catalog.pg_trigger t
			JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
			JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			WHERE NOT t.tgisinternal AND n.nspname = current_schema()`
	}
	var found error
	err := t.Query(func(row Scanner) error {
		var kind, name string
		err := row.Scan(&kind, &name)
		found = fmt.Errorf("%s %s is none of ours: %w", kind, name, envelope.ErrTampered)
		return err
	}, q)
	if err != nil {
		return fmt.Errorf("look at the schema: %w", err)
	}
	return found
}

// ProveMeta proves all rows of the meta table that are ours alone to write.
func (t *Tx) ProveMeta() error {
	var keys []string
	err := t.Query(func(row Scanner) error {
		var key string
		err := row.Scan(&key)
		keys = append(keys, key)
		return err
	}, `SELECT key FROM meta ORDER BY key`)
	for i := 0; err == nil && i < len(keys); i++ {
		_, err = t.Meta(keys[i])
	}
	return err
}
