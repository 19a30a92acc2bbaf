package db_test

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/envelope"
)

var generate = flag.Bool("update", false, "write the schemas anew")

// TestSchemaIsCurrent holds the schemas in the binary to what the migrations make.
func TestSchemaIsCurrent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		file := "schema/" + string(d.Engine()) + ".txt"
		var lines []string
		view(t, d, func(tx *db.Tx) (err error) {
			lines, err = tx.Schema()
			return err
		})
		want := strings.Join(lines, "\n") + "\n"
		if *generate {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s is not what the migrations make (%v); run \"make generate\"", file, err)
		}
	})
}

func TestChangedSchema(t *testing.T) {
	const none = "" // nothing is found
	for _, c := range []struct{ name, sqlite, postgreSQL, found string }{
		{"as it was made", `SELECT 1`, `SELECT 1`, none},
		{"a table of somebody else", `CREATE TABLE theirs (secret TEXT PRIMARY KEY)`, `CREATE TABLE theirs (secret TEXT PRIMARY KEY)`, none},
		{"a view of somebody else", `CREATE VIEW theirs AS SELECT name FROM vaults`, `CREATE VIEW theirs AS SELECT name FROM vaults`, none},
		{"maintenance", `VACUUM`, `REINDEX TABLE journal`, none},
		{"statistics", `ANALYZE`, `ANALYZE`, none},
		{"fuller pages", "", `ALTER INDEX journal_position SET (fillfactor = 70); ALTER INDEX journal_pkey SET (fillfactor = 70)`, none},
		{"an index that is being rebuilt", "", unfinished(`CREATE UNIQUE INDEX journal_pk_ccnew ON journal (commit_id)`, "journal_pk_ccnew"), none},
		{"another index by such a name", "", unfinished(`CREATE UNIQUE INDEX journal_pk_ccnew ON journal (entries)`, "journal_pk_ccnew"), "INDEX journal_pk_ccnew"},
		{"an index that is not valid", "", unfinished(`SELECT 1`, "journal_position"), "INDEX journal_position"},
		{
			"a unique index that drops rows", `CREATE UNIQUE INDEX few ON journal (entries)`, `CREATE UNIQUE INDEX few ON journal (entries)`,
			"schema of journal was changed, there is: CREATE UNIQUE INDEX few",
		},
		{"an index less", `DROP INDEX journal_position`, `DROP INDEX journal_position`, "INDEX journal_position"},
		{
			"a table that takes the place of rows", `DROP TABLE events; CREATE TABLE events (event_id TEXT UNIQUE ON CONFLICT IGNORE, tenant_id, vault_id, type, subject, data, created_us)`,
			`ALTER TABLE events ADD CHECK (length(data) < 1)`, "schema of events was changed",
		},
		{"a column more", `ALTER TABLE secrets ADD COLUMN x TEXT DEFAULT 'y'`, `ALTER TABLE secrets ADD COLUMN x TEXT DEFAULT 'y'`, "schema of secrets was changed"},
		{
			"a view in the place of a table", `ALTER TABLE vaults RENAME TO theirs; CREATE VIEW vaults AS SELECT * FROM theirs`,
			`ALTER TABLE vaults RENAME TO theirs; CREATE VIEW vaults AS SELECT * FROM theirs`, "schema of vaults was changed, there is: view",
		},
		{
			"a key that refers to ours", `CREATE TABLE theirs (id TEXT REFERENCES vaults (vault_id) ON DELETE CASCADE)`,
			`CREATE TABLE theirs (id TEXT REFERENCES vaults (vault_id) ON DELETE CASCADE)`, "foreign key",
		},
		{
			"a trigger", `CREATE TRIGGER eat AFTER INSERT ON journal BEGIN DELETE FROM journal; END`,
			`CREATE FUNCTION eat() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER eat BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION eat()`,
			"trigger eat",
		},
		{
			"a trigger on the migrations' bookkeeping", `CREATE TRIGGER eat AFTER INSERT ON goose_db_version BEGIN DELETE FROM journal; END`,
			`CREATE FUNCTION eat() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER eat BEFORE INSERT ON goose_db_version FOR EACH ROW EXECUTE FUNCTION eat()`,
			"trigger eat",
		},
		{
			"a key that a table hides", `CREATE VIRTUAL TABLE pragma_foreign_key_list USING fts5("table"); CREATE TABLE theirs (id TEXT REFERENCES vaults (vault_id))`, "",
			"pragma_foreign_key_list",
		},
		{"an earlier version", `DELETE FROM goose_db_version WHERE version_id > 1`, `DELETE FROM goose_db_version WHERE version_id > 1`, "version 1"},
		{
			"a default of the bookkeeping", "", `CREATE FUNCTION evil() RETURNS timestamp LANGUAGE sql AS 'SELECT now()::timestamp'; ALTER TABLE goose_db_version ALTER tstamp SET DEFAULT evil()`,
			"default evil()",
		},
		{"others with a name like ours", `CREATE TABLE pragma_notes (x TEXT); CREATE TABLE goose_theirs (x TEXT)`, `CREATE VIEW goose_theirs AS SELECT 1`, none},
		{"an index that is not kept up", "", `UPDATE pg_catalog.pg_index SET indislive = false, indisready = false WHERE indexrelid = 'events_pkey'::regclass`, "not live not ready"},
		{"a table whose indexes are not looked at", "", `UPDATE pg_catalog.pg_class SET relhasindex = false WHERE oid = 'events'::regclass`, "without indexes"},
		{
			"a table before ours", "", `SET allow_system_table_mods = on; CREATE TABLE pg_catalog.journal (LIKE public.journal INCLUDING ALL)`, "behind another",
		},
		{"a trigger in capitals", `CREATE TRIGGER EAT AFTER INSERT ON JOURNAL BEGIN DELETE FROM journal; END`, "", "trigger EAT"},
		{"a key in capitals", `CREATE TABLE theirs (id TEXT REFERENCES VAULTS (vault_id))`, "", "foreign key"},
		{"an index in capitals", `CREATE INDEX SLOW ON JOURNAL (ENTRIES)`, "", "INDEX SLOW"},
		{"a rule", "", `CREATE RULE eat AS ON INSERT TO journal DO INSTEAD NOTHING`, "schema of journal was changed, there is: rule eat"},
		{"another type", "", `ALTER TABLE journal ALTER COLUMN entries TYPE smallint`, "column entries smallint"},
		{"null where it was not", "", `ALTER TABLE journal ALTER COLUMN row_mac DROP NOT NULL`, "column row_mac bytea"},
		{"a table that a crash empties", "", `ALTER TABLE journal SET UNLOGGED`, "table kind r u"},
		{"row security", "", `ALTER TABLE role_assignments ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`, "row security"},
		{"rows of a child", "", `CREATE TABLE theirs () INHERITS (role_assignments)`, "inherited by theirs"},
		{"a key of ours to a table of theirs", "", `CREATE TABLE theirs (id text PRIMARY KEY); ALTER TABLE journal ADD CONSTRAINT x FOREIGN KEY (commit_id) REFERENCES theirs (id) NOT VALID`, "constraint x"},
		{"a column with a blank", "", `ALTER TABLE journal ADD COLUMN " entries" bigint NOT NULL`, `column " entries"`},
		{"tables with a blank", `CREATE TABLE "events old" (x TEXT)`, `CREATE TABLE "events old" (x TEXT)`, none},
		{
			"a trigger that an operator hides", "", `
				CREATE FUNCTION lie(text, name) RETURNS text LANGUAGE sql IMMUTABLE AS $$
					SELECT CASE WHEN $1 = 'trigger ' THEN 'table kind r p' ELSE pg_catalog.textcat($1, $2::text) END $$;
				CREATE OPERATOR || (leftarg = text, rightarg = name, function = lie);
				CREATE FUNCTION eat() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
				CREATE TRIGGER eat BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION eat()`, "trigger eat",
		},
		{"a generated column", "", `ALTER TABLE events DROP COLUMN data, ADD COLUMN data text GENERATED ALWAYS AS (subject) STORED`, "generated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
				q := c.postgreSQL
				if o.Engine == db.SQLite {
					q = c.sqlite
				}
				if q == "" {
					t.Skip("this engine has nothing of the kind")
				}
				d := dbtest.Open(t, o)
				exec(t, raw(t, o), q)
				expectSchema(t, d, c.found)
			})
		})
	}
}

// unfinished is a statement, and then an index as REINDEX CONCURRENTLY leaves it when it fails.
func unfinished(statement, index string) string {
	return statement + `; UPDATE pg_catalog.pg_index SET indisvalid = false WHERE indexrelid = '` + index + `'::regclass`
}

// expectSchema proves the schema and wants a finding with a text in it, or none.
func expectSchema(t *testing.T, d *db.DB, found string) {
	t.Helper()
	err := d.View(t.Context(), (*db.Tx).ProveSchema)
	if found == "" && err != nil {
		t.Errorf("got %v, want no finding", err)
	}
	if found != "" && (!errors.Is(err, envelope.ErrTampered) || !strings.Contains(err.Error(), found)) {
		t.Errorf("got %v, want a finding with %q", err, found)
	}
}

// TestNewerSchema is this release on the schema of the next, during a rolling restart.
func TestNewerSchema(t *testing.T) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		d, r := dbtest.Open(t, o), raw(t, o)
		newer := `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, $1)`
		t.Run("nobody vouches for it", func(t *testing.T) {
			exec(t, r, newer, true)
			expectSchema(t, d, "version 99")
			update(t, d, (*db.Tx).SealSchema) // knows no such schema
			expectSchema(t, d, "version 99")
		})
		t.Run("the next release vouches for it", func(t *testing.T) {
			sealAs(t, d, 1, 99)
			expectSchema(t, d, "")
			exec(t, r, `CREATE UNIQUE INDEX few ON journal (entries)`)
			expectSchema(t, d, "INDEX few")
		})
		t.Run("it vouches for a later one", func(t *testing.T) {
			sealAs(t, d, 1, 98)
			expectSchema(t, d, "version 99")
		})
		t.Run("it is at work", func(t *testing.T) {
			sealAs(t, d, 1, 100)
			expectSchema(t, d, "")
		})
		t.Run("it vouches in a way that this release cannot read", func(t *testing.T) {
			sealAs(t, d, 2, 99)
			expectSchema(t, d, "")
		})
		t.Run("somebody else vouches for it", func(t *testing.T) {
			exec(t, r, `UPDATE meta SET value = 'journal CREATE UNIQUE INDEX few ON journal (entries)' WHERE key = $1`, "schema_"+string(o.Engine))
			expectSchema(t, d, "meta")
		})
	})
}

// sealAs seals the schema of this release as that of another.
func sealAs(t *testing.T, d *db.DB, format, version int64) {
	t.Helper()
	update(t, d, func(tx *db.Tx) error { return tx.SealSchemaAs(format, version) })
}

// A release that has migrated does not take an earlier one's word.
func TestOldSchemaIsBroughtBack(t *testing.T) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		d := dbtest.Open(t, o)
		sealAs(t, d, 0, 1)
		exec(t, raw(t, o), `DELETE FROM goose_db_version WHERE version_id > 1`)
		exec(t, raw(t, o), `CREATE UNIQUE INDEX few ON journal (entries)`)
		expectSchema(t, d, "version 1")
	})
}

// The release before, beside one that migrates, finds the seal before the schema.
func TestSealAhead(t *testing.T) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		d := dbtest.Open(t, o)
		if err := d.SealAhead(t.Context(), dbtest.Ring(t)); err != nil {
			t.Fatal(err)
		}
		if got := sealed(t, d); got != "" {
			t.Errorf("with nothing to migrate %.30q is sealed, want nothing", got)
		}
		exec(t, raw(t, o), `DELETE FROM goose_db_version WHERE version_id > 1`)
		if err := d.SealAhead(t.Context(), dbtest.Ring(t)); err != nil {
			t.Fatal(err)
		}
		if got := sealed(t, d); !strings.HasPrefix(got, "format 1 version 2\n") {
			t.Errorf("before a migration %.30q is sealed, want what it makes", got)
		}
	})
}

func sealed(t *testing.T, d *db.DB) (text string) {
	t.Helper()
	view(t, d, func(tx *db.Tx) (err error) {
		text, err = tx.Meta("schema_" + string(d.Engine()))
		return err
	})
	return text
}

// An operator of somebody else does not change what time it is.
func TestClockHasNoOperatorOfOthers(t *testing.T) {
	o := dbtest.PostgreSQLOptions(t)
	d := dbtest.Open(t, o)
	exec(t, raw(t, o), `
		CREATE FUNCTION late(numeric, integer) RETURNS numeric LANGUAGE sql IMMUTABLE AS
			$$ SELECT ($1 - 31536000) OPERATOR(pg_catalog.*) $2::numeric $$;
		CREATE OPERATOR * (leftarg = numeric, rightarg = integer, function = late)`)
	view(t, d, func(tx *db.Tx) error {
		if off := time.Since(tx.Now).Abs(); off > time.Minute {
			t.Errorf("the time is off by %s", off)
		}
		return nil
	})
}
