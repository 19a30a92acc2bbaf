package db

import (
	"context"
	"embed"
	"fmt"
	"regexp"
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

// schemaFormat is the format of the lines: it rises with each change of what they say of the same schema.
// In a rolling restart over such a change, the release before takes the newer one's word for the schema.
// A release that has migrated never takes an older one's.
const schemaFormat = 1

// metaSchema is the key under which a release that has migrated keeps the schema that it has made, for
// the release before: during a rolling restart that one proves what it cannot know itself.
func (d *DB) metaSchema() string { return "schema_" + string(d.engine.name) }

// A sealedSchema is what stands in the meta table.
type sealedSchema struct {
	format, version int64
	text            string
}

func (s sealedSchema) String() string {
	return fmt.Sprintf("format %d version %d\n%s", s.format, s.version, s.text)
}

func (t *Tx) sealedSchema() (s sealedSchema, err error) {
	value, err := t.Meta(t.db.metaSchema())
	if err != nil || value == "" {
		return s, err
	}
	head, text, _ := strings.Cut(value, "\n")
	if _, err := fmt.Sscanf(head, "format %d version %d", &s.format, &s.version); err != nil {
		return s, fmt.Errorf("the sealed schema begins with %.40q: %w", head, err)
	}
	s.text = text
	return s, nil
}

// SealSchema stores the schema of this release, if the database has it and it is not stored yet.
func (t *Tx) SealSchema() error {
	version, err := t.SchemaVersion()
	if err != nil || version != SchemaVersion() {
		return err
	}
	// Whatever stands there is overwritten, also what somebody else has put there.
	want := sealedSchema{schemaFormat, version, t.db.schemaOfRelease()}
	if found, err := t.sealedSchema(); err == nil && found == want {
		return nil
	}
	return t.SetMeta(t.db.metaSchema(), want.String())
}

// SealAhead stores the schema that migrations are about to make, by the keys that the database will be
// bound to: the nodes of the release before see what comes before it is there.
func (d *DB) SealAhead(ctx context.Context, ring *envelope.Ring) error {
	var live int64
	err := d.reads.QueryRowContext(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&live)
	if err != nil || live >= SchemaVersion() {
		return d.engine.wrap(err)
	}
	key, value := d.metaSchema(), sealedSchema{schemaFormat, SchemaVersion(), d.schemaOfRelease()}.String()
	if _, err := d.writes.ExecContext(ctx, storeMeta, key, value, ring.RowMAC("meta", key, value)); err != nil {
		return d.engine.wrap(fmt.Errorf("vouch for the schema to come: %w", err))
	}
	return nil
}

// ProveSchema refuses a database whose tables are not as the migrations have made them: a constraint
// that drops rows, a column that answers by itself, a trigger or a view in a table's place act behind our
// statements. What others have beside our tables is nobody's business, as long as it does not refer to them.
// The catalog is not a snapshot's: what is found while somebody changes a table may be gone at a second look.
func (t *Tx) ProveSchema() error {
	version, err := t.SchemaVersion()
	if err != nil {
		return err
	}
	want := sealedSchema{schemaFormat, version, t.db.schemaOfRelease()}
	if version != SchemaVersion() {
		if want, err = t.sealedSchema(); err != nil {
			return err
		}
		switch {
		case version < SchemaVersion() && t.db.migrated, want.version < version:
			return fmt.Errorf("the schema has version %d and no release has vouched for that: %w", version, envelope.ErrTampered)
		case want.version > version, want.format != schemaFormat:
			return nil // another release is at work on it, or has words for it that this one does not know
		}
	}
	lines := strings.Split(strings.TrimSpace(want.text), "\n")
	live, err := t.schema(tablesOf(lines))
	if err != nil {
		return err
	}
	return compareSchemas(lines, live)
}

// tablesOf are the tables that lines begin with.
func tablesOf(lines []string) []string {
	var tables []string
	for _, line := range lines {
		table, _, _ := strings.Cut(line, " ")
		tables = append(tables, table)
	}
	return slices.Compact(slices.Sorted(slices.Values(tables)))
}

// compareSchemas names the first line of either that the other lacks.
func compareSchemas(want, live []string) error {
	for _, line := range live {
		if !slices.Contains(want, line) && !isCopy(line, want) {
			table, what, _ := strings.Cut(line, " ")
			return fmt.Errorf("the schema of %s was changed, there is: %s: %w", table, what, envelope.ErrTampered)
		}
	}
	for _, line := range want {
		if !slices.Contains(live, line) {
			table, what, _ := strings.Cut(line, " ")
			return fmt.Errorf("the schema of %s was changed, there is not: %s: %w", table, what, envelope.ErrTampered)
		}
	}
	return nil
}

// beingRebuilt is an index of PostgreSQL's REINDEX CONCURRENTLY, while it runs or after it failed: it has
// another name, is not valid yet or no more, and copies one that is.
var (
	beingRebuilt = regexp.MustCompile(`^(\S+ CREATE (?:UNIQUE )?INDEX )\S+_cc(?:new|old)\d*( ON .*?)(?: not live)?(?: not ready)? not valid$`)
	indexName    = regexp.MustCompile(`^(\S+ CREATE (?:UNIQUE )?INDEX )\S+( ON .*)$`)
)

// isCopy says whether a line is the copy of a wanted index, being rebuilt.
func isCopy(line string, want []string) bool {
	rebuilt := beingRebuilt.FindStringSubmatch(line)
	return rebuilt != nil && slices.ContainsFunc(want, func(wanted string) bool {
		index := indexName.FindStringSubmatch(wanted)
		return index != nil && index[1] == rebuilt[1] && index[2] == rebuilt[2]
	})
}

// indexRoom is how full PostgreSQL leaves the pages of an index, which is for whoever looks after it.
var indexRoom = regexp.MustCompile(`^(CREATE (?:UNIQUE )?INDEX \S+ ON \S+ USING btree \([^()']*\)) WITH \([^()]*\)`)

// schema lists what the database has for tables of the given names, sorted: each line under the table
// that it acts on, or whose name it bears.
func (t *Tx) schema(tables []string) (lines []string, err error) {
	q, args := schemaOfSQLite, []any(nil)
	if t.db.engine.name == PostgreSQL {
		q, args = schemaOfPostgreSQL, []any{strings.Join(tables, " ")}
	}
	err = t.Query(func(row Scanner) error {
		var table, what string
		err := row.Scan(&table, &what)
		if t.db.engine.name == SQLite && table == "pragma_foreign_key_list" {
			return fmt.Errorf("there is a table %s, in the place of SQLite's own: %w", table, envelope.ErrTampered)
		}
		if slices.Contains(tables, table) {
			lines = append(lines, table+" "+indexRoom.ReplaceAllString(strings.Join(strings.Fields(what), " "), "$1"))
		}
		return err
	}, q, args...)
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
		SELECT c.oid, c.relname, c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.relhasindex
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = current_schema() AND CAST(c.relname AS text) = ANY (pg_catalog.string_to_array($1, ' '))
	)
	SELECT relname::text, pg_catalog.concat('table kind ', relkind, ' ', relpersistence,
		CASE WHEN relrowsecurity OR relforcerowsecurity THEN ' with row security' END,
		CASE WHEN NOT pg_catalog.pg_table_is_visible(oid) THEN ' behind another' END,
		CASE WHEN NOT relhasindex THEN ' without indexes' END)
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
		pg_catalog.concat(' ON ', pg_catalog.quote_ident(current_schema()), '.'), ' ON '), CASE WHEN NOT i.indislive THEN ' not live' END,
		CASE WHEN NOT i.indisready THEN ' not ready' END, CASE WHEN NOT i.indisvalid THEN ' not valid' END)
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
