package db

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"strongroom/internal/envelope"
)

// schemas are what this release's migrations make of an empty database of each engine, a line for
// each table, column, constraint and index, under the table's name. A test writes the files anew (make
// generate) and holds them against both engines.
//
//go:embed schema
var schemas embed.FS

func (d *DB) schemaOfRelease() string {
	b, err := schemas.ReadFile("schema/" + string(d.engine.name) + ".txt")
	if err != nil {
		panic("internal/db: the schema of " + string(d.engine.name) + " is not in the binary")
	}
	return string(b)
}

// metaSchema is the key under which a release that has migrated keeps the schema that it has made, for
// the release before: during a rolling restart that one proves what it cannot know itself.
func (d *DB) metaSchema() string { return "schema_" + string(d.engine.name) }

// SealSchema stores the schema of this release, if the database has it and it is not stored yet.
func (t *Tx) SealSchema() error {
	version, err := t.SchemaVersion()
	if err != nil || version != SchemaVersion() {
		return err
	}
	// Whatever stands there is overwritten, also what somebody else has put there.
	text := t.db.schemaOfRelease()
	if sealed, err := t.Meta(t.db.metaSchema()); err == nil && sealed == text {
		return nil
	}
	return t.SetMeta(t.db.metaSchema(), text)
}

// ProveSchema refuses a database whose tables are not as the migrations have made them: a constraint
// that drops rows, a column that answers by itself, a trigger or a view in a table's place act behind our
// statements. What others have beside our tables is nobody's business, as long as it does not refer to them.
func (t *Tx) ProveSchema() error {
	version, err := t.SchemaVersion()
	if err != nil {
		return err
	}
	want := t.db.schemaOfRelease()
	if version != SchemaVersion() {
		if want, err = t.Meta(t.db.metaSchema()); err != nil {
			return err
		}
		if want == "" {
			return fmt.Errorf("the schema has version %d and no release has vouched for that: %w", version, envelope.ErrTampered)
		}
	}
	live, err := t.schema()
	if err != nil {
		return err
	}
	return compareSchemas(strings.Split(strings.TrimSpace(want), "\n"), live)
}

// compareSchemas names the first line of either that the other lacks. Lines begin with their table; those
// of tables that are not wanted are left out.
func compareSchemas(want, live []string) error {
	tables := map[string]bool{}
	for _, line := range want {
		table, _, _ := strings.Cut(line, " ")
		tables[table] = true
	}
	for _, line := range live {
		if table, what, _ := strings.Cut(line, " "); tables[table] && !slices.Contains(want, line) {
			return fmt.Errorf("the schema of %s was changed, there is: %s: %w", table, what, envelope.ErrTampered)
		}
	}
	for _, line := range want {
		if table, what, _ := strings.Cut(line, " "); !slices.Contains(live, line) {
			return fmt.Errorf("the schema of %s was changed, there is not: %s: %w", table, what, envelope.ErrTampered)
		}
	}
	return nil
}

// schema lists what the database has, sorted: each line under the table that it acts on, or whose name it
// bears.
func (t *Tx) schema() (lines []string, err error) {
	q := schemaOfSQLite
	if t.db.engine.name == PostgreSQL {
		q = schemaOfPostgreSQL
	}
	err = t.Query(func(row Scanner) error {
		var table, what string
		err := row.Scan(&table, &what)
		if !bookkeeping(table) && !strings.ContainsAny(table, " \t\n") { // no table of ours has a blank in its name
			lines = append(lines, table+" "+strings.Join(strings.Fields(what), " "))
		}
		return err
	}, q)
	if err != nil {
		return nil, fmt.Errorf("look at the schema: %w", err)
	}
	slices.Sort(lines)
	return lines, nil
}

// SQLite keeps the text that made a table or an index; the indexes of its own have none. It keeps names as
// they were typed, and takes capitals for the same.
const schemaOfSQLite = `
	SELECT lower(tbl_name), CASE WHEN type IN ('table', 'index') THEN COALESCE(sql, type || ' ' || name) ELSE type || ' ' || name END
	FROM sqlite_master WHERE tbl_name <> 'sqlite_sequence'
	UNION ALL
	SELECT lower(f."table"), 'foreign key of ' || m.name
	FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'`

// PostgreSQL keeps the parts. NOT NULL stands with the column: it is a constraint of its own from
// release 18 on. Text is joined by a function of pg_catalog and numbers have their types: an operator of
// somebody else for types that have none of their own would be taken otherwise.
const schemaOfPostgreSQL = `
	WITH tables AS (
		SELECT c.oid, c.relname, c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = current_schema()
	)
	SELECT relname::text, pg_catalog.concat('table kind ', relkind, ' ', relpersistence,
		CASE WHEN relrowsecurity OR relforcerowsecurity THEN ' with row security' END)
	FROM tables WHERE relkind IN ('r', 'p', 'f')
	UNION ALL
	SELECT relname::text, CASE relkind WHEN 'v' THEN 'view' ELSE 'materialised view' END FROM tables WHERE relkind IN ('v', 'm')
	UNION ALL
	SELECT t.relname::text, pg_catalog.concat('column ', pg_catalog.quote_ident(a.attname), ' ', pg_catalog.format_type(a.atttypid, a.atttypmod),
		CASE WHEN a.attnotnull THEN ' not null' END,
		CASE WHEN a.attgenerated <> '' THEN ' generated' END, CASE WHEN a.attidentity <> '' THEN ' identity' END,
		CASE WHEN a.attcollation <> y.typcollation THEN pg_catalog.concat(' collate ', a.attcollation) END,
		CASE WHEN e.adbin IS NOT NULL THEN pg_catalog.concat(' default ', pg_catalog.pg_get_expr(e.adbin, e.adrelid)) END)
	FROM tables t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
	JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
	LEFT JOIN pg_catalog.pg_attrdef e ON e.adrelid = t.oid AND e.adnum = a.attnum
	WHERE t.relkind IN ('r', 'p', 'f')
	UNION ALL
	SELECT t.relname::text, pg_catalog.concat('constraint ', pg_catalog.quote_ident(o.conname), ' ', pg_catalog.pg_get_constraintdef(o.oid))
	FROM tables t JOIN pg_catalog.pg_constraint o ON o.conrelid = t.oid WHERE o.contype <> 'n'
	UNION ALL
	SELECT t.relname::text, pg_catalog.concat('foreign key ', pg_catalog.quote_ident(o.conname), ' of ', o.conrelid::pg_catalog.regclass)
	FROM tables t JOIN pg_catalog.pg_constraint o ON o.confrelid = t.oid WHERE o.contype = 'f'
	UNION ALL
	SELECT t.relname::text, pg_catalog.concat(pg_catalog.replace(pg_catalog.pg_get_indexdef(i.indexrelid),
		pg_catalog.concat(' ON ', pg_catalog.quote_ident(current_schema()), '.'), ' ON '), CASE WHEN NOT i.indisvalid THEN ' not valid' END)
	FROM tables t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid
	UNION ALL
	SELECT t.relname::text, pg_catalog.concat('inherited by ', h.inhrelid::pg_catalog.regclass)
	FROM tables t JOIN pg_catalog.pg_inherits h ON h.inhparent = t.oid WHERE t.relkind IN ('r', 'p', 'f')
	UNION ALL
	SELECT t.relname::text, pg_catalog.concat('inherits ', h.inhparent::pg_catalog.regclass)
	FROM tables t JOIN pg_catalog.pg_inherits h ON h.inhrelid = t.oid WHERE t.relkind IN ('r', 'p', 'f')
	UNION ALL
	SELECT t.relname::text, pg_catalog.concat('rule ', pg_catalog.quote_ident(r.rulename))
	FROM tables t JOIN pg_catalog.pg_rewrite r ON r.ev_class = t.oid WHERE t.relkind IN ('r', 'p', 'f')
	UNION ALL
	SELECT t.relname::text, pg_catalog.concat('trigger ', pg_catalog.quote_ident(g.tgname))
	FROM tables t JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid WHERE NOT g.tgisinternal`
