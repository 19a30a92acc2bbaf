//go:build unix

package tamper

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"strongroom/test/served"
)

// systemAttacks are on what the server is started by and works by.
var systemAttacks = []attack{
	{
		name: "edit the tenant", stopped: true,
		sql:     `UPDATE meta SET value = 'feedfeed-feed-4eed-8eed-feedfeedfeed' WHERE key = 'tenant_id'`,
		noStart: "tenant_id",
	},
	{
		name: "edit the tenant while the server runs",
		sql:  `UPDATE meta SET value = 'feedfeed-feed-4eed-8eed-feedfeedfeed' WHERE key = 'tenant_id'`,
		asks: []ask{readDB, stealDB}, found: "tenant_id",
	},
	{
		name: "edit the deployment's id", stopped: true,
		sql:     `UPDATE meta SET value = 'feedfeed-feed-4eed-8eed-feedfeedfeed' WHERE key = 'deployment_id'`,
		noStart: "key",
	},
	{
		name: "make the clock one that can be set", alsoPostgreSQL: true, stopped: true,
		sql: `INSERT INTO meta (key, value) VALUES ('test_clock', '1');
			INSERT INTO meta (key, value) VALUES ('clock_offset_us', '-86400000000')`,
		noStart: "test_clock",
	},
	{
		name: "make the clock one that can be set, with a MAC of another row", stopped: true,
		sql: `INSERT INTO meta (key, value, row_mac) SELECT 'test_clock', '1', row_mac FROM meta WHERE key = 'tenant_id';
			INSERT INTO meta (key, value) VALUES ('clock_offset_us', '-86400000000')`,
		noStart: "test_clock",
	},
	{
		name: "give out another default identity",
		do:   otherIdentity, found: "default_identity",
	},
	{
		// Keys that are open stay as they are; the next start refuses.
		name: "swap two keys of the keyring", stopped: true,
		sql: `CREATE TABLE before AS SELECT * FROM keyring;
			UPDATE keyring SET key_sealed = (SELECT o.key_sealed FROM before o WHERE o.ordinal = 3 - keyring.ordinal) WHERE ordinal IN (1, 2)`,
		noStart: "key",
	},
	{
		name: "swap the purposes of two keys of the keyring", stopped: true,
		sql: `CREATE TABLE before AS SELECT * FROM keyring;
			UPDATE keyring SET purpose = (SELECT o.purpose FROM before o WHERE o.ordinal = 3 - keyring.ordinal) WHERE ordinal IN (1, 2)`,
		noStart: "key",
	},
	{
		name: "delete a key of the keyring", stopped: true,
		sql:     `DELETE FROM keyring WHERE ordinal = 1`,
		noStart: "key",
	},
	{
		name: "swap two keys of the keyring while the server runs", alsoPostgreSQL: true,
		sql: `CREATE TABLE before AS SELECT * FROM keyring;
			UPDATE keyring SET key_sealed = (SELECT o.key_sealed FROM before o WHERE o.ordinal = 3 - keyring.ordinal) WHERE ordinal IN (1, 2)`,
		asks: []ask{readDB}, where: "keyring", found: "key",
	},
	{
		name: "delete the keyring while the server runs", alsoPostgreSQL: true,
		sql:  `DELETE FROM keyring`,
		asks: []ask{readDB}, where: "keyring", found: "key",
	},
	{
		name: "take the scrub's lease for ever, and delete a secret in its shadow", alsoPostgreSQL: true,
		sql: `UPDATE leases SET holder = 'x', expires_us = 4000000000000000 WHERE name = 'scrub';
			DELETE FROM secrets WHERE vault_id = {target} AND name_key = 'api'`,
		asks: []ask{readDB}, where: targetVault, found: "set vault/{target}",
	},
	{
		name: "a view that finds another secret's rows than those asked for",
		sql: `ALTER TABLE secrets RENAME TO real_secrets;
			CREATE VIEW secrets AS SELECT tenant_id, vault_id, CASE WHEN name_key = 'api' AND random() > 0 THEN 'db' ELSE name_key END AS name_key,
				part, name, newest, newest_mac, versions_sealed, generation, created_us, deleted_us, purge_us, row_mac
				FROM real_secrets WHERE NOT (vault_id = {target} AND name_key = 'db')`,
		asks: slices.Repeat([]ask{{who: "narrow", target: "target/secrets/db", may: "VALUE-now-db"}}, 60),
	},
	{
		name: "a view that finds another's principal for an application",
		sql: `ALTER TABLE principals RENAME TO real_principals;
			CREATE VIEW principals AS SELECT tenant_id, object_id, kind, CASE WHEN object_id = {reader.id} AND random() > 0 THEN {outsider.app} ELSE app_id END AS app_id,
				display_name, enabled, resource_id, location, tags, created_us, row_mac
				FROM real_principals WHERE object_id <> {outsider.id}`,
		asks: slices.Repeat([]ask{{who: "as outsider", target: "target/secrets/db"}}, 30),
	},
}

// schemaAttacks change what the tables are, not what is in them.
var schemaAttacks = []attack{
	{
		name: "a unique index that keeps entries out of the log", alsoPostgreSQL: true,
		sql:  `CREATE UNIQUE INDEX few ON journal (tenant_id) WHERE committed_us > 4000000000000000`,
		asks: []ask{readDB}, where: "schema", found: "few ON journal",
	},
	{
		name: "drop the index by which the assignments of a principal are found", alsoPostgreSQL: true,
		sql:  `DROP INDEX role_assignments_principal`,
		asks: []ask{readDB}, where: "schema", found: "role_assignments_principal",
	},
	{
		name: "a table in which one right takes the place of another",
		sql: `ALTER TABLE group_members RENAME TO real_members;
			CREATE TABLE group_members (tenant_id TEXT, group_id TEXT, member_id TEXT, created_us INTEGER, row_mac BLOB, PRIMARY KEY (group_id) ON CONFLICT REPLACE);
			INSERT INTO group_members SELECT * FROM real_members`,
		asks: []ask{stealDB}, where: "schema", found: "group_members",
	},
	{
		name: "a column that was not there", alsoPostgreSQL: true,
		sql:  `ALTER TABLE secrets ADD COLUMN more TEXT`,
		asks: []ask{readDB}, where: "schema", found: "secrets",
	},
	{
		name: "a table that loses its rows with vaults", alsoPostgreSQL: true,
		sql:  `CREATE TABLE theirs (id TEXT REFERENCES vaults (vault_id) ON DELETE CASCADE)`,
		asks: []ask{readDB}, where: "schema", found: "foreign key",
	},
	{
		name: "a table in which an assignment may be twice",
		sql: `ALTER TABLE role_assignments RENAME TO theirs;
			CREATE TABLE role_assignments AS SELECT * FROM theirs`,
		asks: []ask{readDB, stealDB}, where: "schema", found: "role_assignments",
	},
	{
		name: "a table that hides which tables refer to ours",
		sql: `CREATE VIRTUAL TABLE pragma_foreign_key_list USING fts5("table");
			CREATE TABLE theirs (id TEXT REFERENCES vaults (vault_id) ON DELETE CASCADE)`,
		asks: []ask{readDB}, where: "schema", found: "pragma_foreign_key_list",
	},
	{
		name: "an earlier version of the schema", alsoPostgreSQL: true,
		sql:  `DELETE FROM goose_db_version WHERE version_id > 1`,
		asks: []ask{readDB}, where: "schema", found: "version 1",
	},
	{
		name: "a later version of the schema", alsoPostgreSQL: true,
		sql:  `UPDATE goose_db_version SET version_id = 77 WHERE version_id = 1`,
		asks: []ask{readDB}, where: "schema", found: "version 77",
	},
	{
		name: "a trigger that waits for the next migration",
		sql:  `CREATE TRIGGER later AFTER INSERT ON goose_db_version BEGIN UPDATE principals SET enabled = 1; END`,
		asks: []ask{readDB}, where: "schema", found: "trigger later",
	},
}

// otherIdentity makes an identity of another name the one that is given out to who asks for none:
// its right is that of the retired principal.
func otherIdentity(p *place) {
	p.exec(`UPDATE meta SET value = {outsider.id} WHERE key = 'default_identity'`)
	req, err := http.NewRequest("GET", "http://"+p.identity+"/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.localhost", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Metadata", "true")
	resp, b, err := served.Do(http.DefaultClient, req)
	if err != nil {
		p.t.Fatal(err)
	}
	if resp.StatusCode == http.StatusOK || strings.Contains(string(b), "access_token") {
		p.t.Errorf("the managed identity endpoint answered %d with a token", resp.StatusCode)
	}
}

// rollbacks put the whole database back to yesterday. What the node keeps outside it tells.
//
// The words of the refusal are those of the check at the start: "lies behind".
var rollbacks = []attack{
	{
		name: "put back yesterday's file of the whole database", stopped: true,
		do: putBackFile, noStart: rollbackRefusal,
	},
	{
		name: "put back all rows of all tables of yesterday", alsoPostgreSQL: true, stopped: true,
		do: putBackRows, noStart: rollbackRefusal,
	},
	{
		name: "put back all rows of all tables of yesterday while the server runs", alsoPostgreSQL: true,
		do: putBackRows, asks: []ask{stealDB, readDB, readGone, {who: "as leaked"}, {who: "as retired"}}, found: "lies before",
	},
}

// rollbackRefusal is what a server says whose database is yesterday's.
const rollbackRefusal = "lies behind"

func putBackFile(p *place) {
	p.hands.Close()
	file := filepath.Join(p.Data(), "strongroom.db")
	for _, old := range []string{file + "-wal", file + "-shm"} {
		if err := os.RemoveAll(old); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(p.Data(), yesterdaysFile), file); err != nil {
		p.t.Fatal(err)
	}
}

func putBackRows(p *place) {
	var all strings.Builder
	for _, table := range tables {
		fmt.Fprintf(&all, "DELETE FROM %s;\nINSERT INTO %[1]s SELECT * FROM y_%[1]s;\n", table)
	}
	p.exec(all.String())
}

// postgresAttacks need what SQLite does not have.
var postgresAttacks = []attack{
	{
		name: "turn the database's clock back, so that an expired credential holds again", alsoPostgreSQL: true, stopped: true,
		do: turnClockBack, asks: []ask{{who: "as expired", target: "target/secrets/db"}},
	},
	{
		name: "a table whose rows count as assignments", alsoPostgreSQL: true,
		sql:  `CREATE TABLE more () INHERITS (role_assignments)`,
		asks: []ask{readDB}, where: "schema", found: "inherited by more",
	},
	{
		name: "row security that hides the log", alsoPostgreSQL: true,
		sql:  `ALTER TABLE journal ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`,
		asks: []ask{readDB}, where: "schema", found: "row security",
	},
	{
		name: "a log that a crash of the database empties", alsoPostgreSQL: true,
		sql:  `ALTER TABLE journal SET UNLOGGED`,
		asks: []ask{readDB}, where: "schema", found: "table kind r u",
	},
	{
		name: "a rule that waits for the next migration", alsoPostgreSQL: true,
		sql:  `CREATE RULE later AS ON INSERT TO goose_db_version DO ALSO UPDATE principals SET enabled = true`,
		asks: []ask{readDB}, where: "schema", found: "rule later",
	},
	{
		name: "drop what makes an assignment unique", alsoPostgreSQL: true,
		sql:  `ALTER TABLE role_assignments DROP CONSTRAINT role_assignments_tenant_id_scope_key_role_definition_id_pri_key`,
		asks: []ask{readDB}, where: "schema", found: "role_assignments_tenant_id",
	},
	{
		name: "an index in ruins in the place of one that makes an assignment unique", alsoPostgreSQL: true,
		sql: `UPDATE pg_catalog.pg_index SET indisvalid = false
			WHERE indexrelid = 'role_assignments_tenant_id_scope_key_role_definition_id_pri_key'::regclass;
			ALTER INDEX role_assignments_tenant_id_scope_key_role_definition_id_pri_key RENAME TO once_ccnew`,
		asks: []ask{readDB}, where: "schema", found: "once_ccnew",
	},
}

// turnClockBack puts a function of the attacker's own before the system's in the search path: it
// tells the time at which the credential had just been made.
func turnClockBack(p *place) {
	p.exec(`CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$
			SELECT to_timestamp(not_before_us / 1000000.0) + interval '1 second' FROM public.credentials WHERE credential_id = {expired.key} $$`)
	database := p.url[strings.LastIndex(p.url, "/")+1 : strings.Index(p.url, "?")]
	if _, err := p.hands.Exec(`ALTER DATABASE ` + database + ` SET search_path = public, pg_catalog`); err != nil {
		p.t.Fatal(err)
	}
}
