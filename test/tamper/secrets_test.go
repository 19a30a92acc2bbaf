//go:build unix

package tamper

// Requests that most attacks on the vault "target" are followed by.
var (
	readDB = ask{who: "reader", target: "target/secrets/db", may: "VALUE-now-db"}
	// The outsider may see the names of secrets there, and no value.
	stealDB   = ask{who: "outsider", target: "target/secrets/db", status: []int{403, 500}}
	readOff   = ask{who: "reader", target: "target/secrets/off"}
	readGone  = ask{who: "reader", target: "target/secrets/gone"}
	readDated = ask{who: "reader", target: "target/secrets/dated", may: "VALUE-old-dated"}
	readAPI   = ask{who: "reader", target: "target/secrets/api", may: "VALUE-now-api"}
	listNames = ask{who: "reader", target: "target/secrets", status: []int{200, 500}}
	listDB    = ask{who: "reader", target: "target/secrets/db/versions", status: []int{200, 500}}
)

const targetVault = "vault {target}"

// secretAttacks are on the rows of the vault "target".
var secretAttacks = []attack{
	{
		name: "swap the sealed values of two secrets", alsoPostgreSQL: true,
		sql: `CREATE TABLE before AS SELECT * FROM secret_versions WHERE vault_id = {target} AND ordinal = 2;
			UPDATE secret_versions SET value_sealed = (SELECT o.value_sealed FROM before o WHERE o.name_key = 'api')
			WHERE vault_id = {target} AND ordinal = 2 AND name_key = 'db';
			UPDATE secret_versions SET value_sealed = (SELECT o.value_sealed FROM before o WHERE o.name_key = 'db')
			WHERE vault_id = {target} AND ordinal = 2 AND name_key = 'api'`,
		asks: []ask{readDB, readAPI, stealDB}, where: targetVault, found: "in vault {target}",
	},
	{
		name: "put yesterday's sealed value into today's version",
		sql: `UPDATE secret_versions SET value_sealed = (SELECT y.value_sealed FROM y_secret_versions y WHERE y.vault_id = {target} AND y.name_key = 'db')
			WHERE vault_id = {target} AND name_key = 'db' AND ordinal = 2`,
		asks: []ask{readDB}, where: targetVault, found: "secret db",
	},
	{
		name: "swap the rows of two secrets by their names",
		sql: `UPDATE secret_versions SET name_key = 'x' WHERE vault_id = {target} AND name_key = 'db';
			UPDATE secret_versions SET name_key = 'db' WHERE vault_id = {target} AND name_key = 'api';
			UPDATE secret_versions SET name_key = 'api' WHERE vault_id = {target} AND name_key = 'x'`,
		asks: []ask{readDB, readAPI}, where: targetVault, found: "in vault {target}",
	},
	{
		name: "rename a secret: its name_key",
		sql: `UPDATE secrets SET name_key = 'ipa' WHERE vault_id = {target} AND name_key = 'api';
			UPDATE secret_versions SET name_key = 'ipa' WHERE vault_id = {target} AND name_key = 'api'`,
		asks:  []ask{{who: "reader", target: "target/secrets/ipa"}, {who: "reader", target: "target/secrets/api", status: []int{500}}, listNames},
		where: targetVault, found: "in vault {target}",
	},
	{
		name: "copy rows into another vault", alsoPostgreSQL: true,
		sql: `INSERT INTO secrets SELECT tenant_id, {theirs}, name_key, part, name, newest, newest_mac, versions_sealed, generation, created_us, deleted_us, purge_us, row_mac
				FROM secrets WHERE vault_id = {target} AND name_key = 'db';
			INSERT INTO secret_versions SELECT tenant_id, {theirs}, name_key, version, ordinal, enabled, not_before_us, expires_us, created_us, updated_us, content_type, tags, value_sealed, row_mac
				FROM secret_versions WHERE vault_id = {target} AND name_key = 'db'`,
		asks:  []ask{{who: "outsider", target: "theirs/secrets/db", status: []int{500}}, {who: "outsider", target: "theirs/secrets/mine", status: []int{200, 500}}},
		where: "vault {theirs}", found: "set vault/{theirs}",
	},
	{
		name: "move rows into another vault: their vault_id",
		sql: `UPDATE secrets SET vault_id = {theirs} WHERE vault_id = {target} AND name_key = 'api';
			UPDATE secret_versions SET vault_id = {theirs} WHERE vault_id = {target} AND name_key = 'api'`,
		asks:  []ask{{who: "outsider", target: "theirs/secrets/api", status: []int{500}}, {who: "reader", target: "target/secrets/api", status: []int{500}}},
		where: targetVault, found: "set vault/{target}",
	},
	{
		name: "reorder: swap the ordinals of two versions",
		sql: `UPDATE secret_versions SET ordinal = 9 WHERE vault_id = {target} AND name_key = 'db' AND ordinal = 1;
			UPDATE secret_versions SET ordinal = 1 WHERE vault_id = {target} AND name_key = 'db' AND ordinal = 2;
			UPDATE secret_versions SET ordinal = 2 WHERE vault_id = {target} AND name_key = 'db' AND ordinal = 9`,
		asks: []ask{readDB, listDB}, where: targetVault, found: "secret db",
	},
	{
		name: "point the head at an older version: newest",
		sql:  `UPDATE secrets SET newest = 1 WHERE vault_id = {target} AND name_key = 'db'`,
		asks: []ask{readDB, listNames}, where: targetVault, found: "secret db",
	},
	{
		name: "delete the newest version", alsoPostgreSQL: true,
		sql:  `DELETE FROM secret_versions WHERE vault_id = {target} AND name_key = 'db' AND ordinal = 2`,
		asks: []ask{readDB, listDB}, where: targetVault, found: "secret db",
	},
	{
		name: "delete an older version",
		sql:  `DELETE FROM secret_versions WHERE vault_id = {target} AND name_key = 'db' AND ordinal = 1`,
		asks: []ask{readDB, {who: "reader", target: "target/secrets/db/versions", status: []int{500}}}, where: targetVault, found: "secret db",
	},
	{
		name: "delete the newest version and let the head vouch for the one before",
		sql: `DELETE FROM secret_versions WHERE vault_id = {target} AND name_key = 'db' AND ordinal = 2;
			UPDATE secrets SET newest = 1, newest_mac = (SELECT v.row_mac FROM secret_versions v WHERE v.vault_id = {target} AND v.name_key = 'db' AND v.ordinal = 1)
			WHERE vault_id = {target} AND name_key = 'db'`,
		asks: []ask{readDB}, where: targetVault, found: "secret db",
	},
	{
		name: "delete a head",
		sql:  `DELETE FROM secrets WHERE vault_id = {target} AND name_key = 'db'`,
		asks: []ask{readDB, listNames}, where: targetVault, found: "set vault/{target}",
	},
	{
		name: "delete head and versions together", alsoPostgreSQL: true,
		sql: `DELETE FROM secrets WHERE vault_id = {target} AND name_key = 'db';
			DELETE FROM secret_versions WHERE vault_id = {target} AND name_key = 'db'`,
		asks: []ask{{who: "reader", target: "target/secrets/db", status: []int{500}}, listNames}, where: targetVault, found: "set vault/{target}",
	},
	{
		name: "bring back yesterday's head",
		sql: `DELETE FROM secrets WHERE vault_id = {target} AND name_key = 'db';
			INSERT INTO secrets SELECT * FROM y_secrets WHERE vault_id = {target} AND name_key = 'db'`,
		asks: []ask{readDB}, where: targetVault, found: "set vault/{target}",
	},
	{
		name: "bring back yesterday's head and versions",
		sql:  backToYesterday,
		asks: []ask{readDB, listDB}, where: targetVault, found: "set vault/{target}",
	},
	{
		name: "bring back yesterday's revision of the vault alone",
		sql:  vaultRevisionBack,
		asks: []ask{readDB, readAPI}, where: targetVault, found: "{target}",
	},
	{
		name: "bring back the vault's tables and revision of yesterday", alsoPostgreSQL: true,
		sql: vaultBack, asks: []ask{readDB, readAPI, readGone, readOff}, where: targetVault, found: "lies before",
	},
	{
		name: "bring back the vault's tables and revision of yesterday, with the server stopped", alsoPostgreSQL: true,
		stopped: true,
		sql:     vaultBack, noStart: "lies behind",
	},
	{
		name: "empty a vault with its revision",
		sql:  emptyVault,
		asks: []ask{{who: "reader", target: "target/secrets/db", status: []int{500}}, listNames}, where: targetVault, found: "{target}",
	},
	{
		name: "empty a vault with its revision, with the server stopped", stopped: true,
		sql:  emptyVault,
		asks: []ask{{who: "reader", target: "target/secrets/db", status: []int{500}}, listNames}, where: targetVault, found: "{target}",
	},
	{
		name: "undelete: deleted_us and purge_us to NULL",
		sql:  `UPDATE secrets SET deleted_us = NULL, purge_us = NULL WHERE vault_id = {target} AND name_key = 'gone'`,
		asks: []ask{readGone, listNames}, where: targetVault, found: "secret gone",
	},
	{
		name: "undelete: bring back the living head",
		sql: `DELETE FROM secrets WHERE vault_id = {target} AND name_key = 'gone';
			INSERT INTO secrets SELECT * FROM y_secrets WHERE vault_id = {target} AND name_key = 'gone'`,
		asks: []ask{readGone}, where: targetVault, found: "set vault/{target}",
	},
	{
		name: "bring back a purged secret",
		sql: `INSERT INTO secrets SELECT * FROM y_secrets WHERE vault_id = {target} AND name_key = 'purged';
			INSERT INTO secret_versions SELECT * FROM y_secret_versions WHERE vault_id = {target} AND name_key = 'purged'`,
		asks: []ask{
			{who: "reader", target: "target/secrets/purged"},
			{who: "reader", method: "POST", target: "target/deletedsecrets/purged/recover"},
		},
		where: targetVault, found: "set vault/{target}",
	},
	{
		name: "bring back the versions of a purged secret, for the next of its name",
		sql:  `INSERT INTO secret_versions SELECT * FROM y_secret_versions WHERE vault_id = {target} AND name_key = 'purged'`,
		asks: []ask{
			{who: "reader", method: "PUT", target: "target/secrets/purged", body: `{"value":"VALUE-fresh"}`, may: "VALUE-fresh"},
			{who: "reader", target: "target/secrets/purged", may: "VALUE-fresh"},
			{who: "reader", target: "target/secrets/purged/versions", status: []int{200, 500}},
		},
		where: targetVault, found: "purged",
	},
	{
		name: "purge ahead of time: purge_us", stopped: true,
		sql: `UPDATE secrets SET purge_us = 1 WHERE vault_id = {target} AND name_key = 'gone'`,
		asks: []ask{
			readGone,
			{who: "reader", target: "target/deletedsecrets/gone", status: []int{500}},
		},
		where: targetVault, found: "secret gone",
	},
	{
		name: "purge a living secret: deleted_us and purge_us", stopped: true,
		sql:  `UPDATE secrets SET deleted_us = 1, purge_us = 1 WHERE vault_id = {target} AND name_key = 'db'`,
		asks: []ask{{who: "reader", target: "target/secrets/db", status: []int{500}}}, where: targetVault, found: "secret db",
	},
	{
		name: "enable a disabled version", alsoPostgreSQL: true,
		sql:  `UPDATE secret_versions SET enabled = TRUE WHERE vault_id = {target} AND name_key = 'off'`,
		asks: []ask{readOff, stealDB}, where: targetVault, found: "secret off",
	},
	{
		name: "enable a disabled version: bring back its row",
		sql: `DELETE FROM secret_versions WHERE vault_id = {target} AND name_key = 'off';
			INSERT INTO secret_versions SELECT * FROM y_secret_versions WHERE vault_id = {target} AND name_key = 'off'`,
		asks: []ask{readOff}, where: targetVault, found: "secret off",
	},
	{
		name: "move exp",
		sql:  `UPDATE secret_versions SET expires_us = 4000000000000000 WHERE vault_id = {target} AND name_key = 'dated'`,
		asks: []ask{readDated}, where: targetVault, found: "secret dated",
	},
	{
		name: "delete exp",
		sql:  `UPDATE secret_versions SET expires_us = NULL WHERE vault_id = {target} AND name_key = 'dated'`,
		asks: []ask{readDated}, where: targetVault, found: "secret dated",
	},
	{
		name: "move nbf",
		sql:  `UPDATE secret_versions SET not_before_us = 1000000 WHERE vault_id = {target} AND name_key = 'dated'`,
		asks: []ask{readDated}, where: targetVault, found: "secret dated",
	},
	{
		name: "edit tags",
		sql:  `UPDATE secret_versions SET tags = '{"a":"c"}' WHERE vault_id = {target} AND name_key = 'dated'`,
		asks: []ask{readDated}, where: targetVault, found: "secret dated",
	},
	{
		name: "tags that are no JSON",
		sql:  `UPDATE secret_versions SET tags = 'x' WHERE vault_id = {target} AND name_key = 'dated'`,
		asks: []ask{readDated}, where: targetVault, found: "secret dated",
	},
	{
		name: "edit the content type",
		sql:  `UPDATE secret_versions SET content_type = 'text/html' WHERE vault_id = {target} AND name_key = 'dated'`,
		asks: []ask{readDated}, where: targetVault, found: "secret dated",
	},
	{
		name: "edit the time of creation",
		sql:  `UPDATE secrets SET created_us = 1 WHERE vault_id = {target} AND name_key = 'db'`,
		asks: []ask{readDB}, where: targetVault, found: "secret db",
	},
	{
		name: "forge a version",
		sql: `INSERT INTO secret_versions SELECT tenant_id, vault_id, name_key, 'feedfeedfeedfeedfeedfeedfeedfeed', 3, enabled, not_before_us, expires_us, created_us, updated_us, content_type, tags, value_sealed, row_mac
				FROM secret_versions WHERE vault_id = {target} AND name_key = 'db' AND ordinal = 1;
			UPDATE secrets SET newest = 3 WHERE vault_id = {target} AND name_key = 'db'`,
		asks:  []ask{readDB, {who: "reader", target: "target/secrets/db/feedfeedfeedfeedfeedfeedfeedfeed"}},
		where: targetVault, found: "secret db",
	},
	{
		name: "move a head to another part of the digest",
		sql:  `UPDATE secrets SET part = (part + 1) % 32 WHERE vault_id = {target} AND name_key = 'db'`,
		asks: []ask{readDB}, where: targetVault, found: "{target}",
	},
	{
		name: "swap the MACs of two heads",
		sql: `CREATE TABLE before AS SELECT * FROM secrets WHERE vault_id = {target};
			UPDATE secrets SET row_mac = (SELECT o.row_mac FROM before o WHERE o.name_key = 'api') WHERE vault_id = {target} AND name_key = 'db';
			UPDATE secrets SET row_mac = (SELECT o.row_mac FROM before o WHERE o.name_key = 'db') WHERE vault_id = {target} AND name_key = 'api'`,
		asks: []ask{readDB, readAPI}, where: targetVault, found: "{target}",
	},
	{
		name: "bring back the sealed digest of versions",
		sql: `UPDATE secrets SET versions_sealed = (SELECT y.versions_sealed FROM y_secrets y WHERE y.vault_id = {target} AND y.name_key = 'db')
			WHERE vault_id = {target} AND name_key = 'db'`,
		asks: []ask{readDB, listDB}, where: targetVault, found: "secret db",
	},
}

const backToYesterday = `DELETE FROM secrets WHERE vault_id = {target} AND name_key = 'db';
	DELETE FROM secret_versions WHERE vault_id = {target} AND name_key = 'db';
	INSERT INTO secrets SELECT * FROM y_secrets WHERE vault_id = {target} AND name_key = 'db';
	INSERT INTO secret_versions SELECT * FROM y_secret_versions WHERE vault_id = {target} AND name_key = 'db'`

const vaultRevisionBack = `DELETE FROM revisions WHERE scope = 'vault/' || {target};
	INSERT INTO revisions SELECT * FROM y_revisions WHERE scope = 'vault/' || {target}`

const emptyVault = `DELETE FROM secrets WHERE vault_id = {target};
	DELETE FROM secret_versions WHERE vault_id = {target};
	DELETE FROM revisions WHERE scope = 'vault/' || {target}`

const vaultBack = `DELETE FROM secrets WHERE vault_id = {target};
	DELETE FROM secret_versions WHERE vault_id = {target};
	INSERT INTO secrets SELECT * FROM y_secrets WHERE vault_id = {target};
	INSERT INTO secret_versions SELECT * FROM y_secret_versions WHERE vault_id = {target};
	` + vaultRevisionBack
