//go:build unix

package tamper

var (
	readInside = ask{who: "reader", target: "closed/secrets/inside", status: []int{403, 500}} // its firewall lets nobody in
	readBones  = ask{who: "outsider", target: "buried/secrets/bones"}
)

// vaultAttacks are on the rows of vaults and resource groups.
var vaultAttacks = []attack{
	{
		name: "turn RBAC off",
		sql:  `UPDATE vaults SET rbac = FALSE WHERE vault_id = {target}`,
		asks: []ask{readDB, stealDB}, where: "directory", found: "{target}",
	},
	{
		name: "open the firewall: edit the network rules", alsoPostgreSQL: true,
		sql:  `UPDATE vaults SET properties = REPLACE(properties, '"Deny"', '"Allow"') WHERE vault_id = {closed}`,
		asks: []ask{readInside}, where: "directory", found: "{closed}",
	},
	{
		name: "open the firewall: bring back yesterday's row",
		sql: `DELETE FROM vaults WHERE vault_id = {closed};
			INSERT INTO vaults SELECT * FROM y_vaults WHERE vault_id = {closed}`,
		asks: []ask{readInside}, where: "directory", found: "set directory",
	},
	{
		name: "open the firewall: bring back yesterday's vaults and revision",
		sql: `DELETE FROM vaults;
			INSERT INTO vaults SELECT * FROM y_vaults;
			DELETE FROM revisions WHERE scope = 'directory';
			INSERT INTO revisions SELECT * FROM y_revisions WHERE scope = 'directory'`,
		asks: []ask{readInside, readBones}, found: "lies before",
	},
	{
		name: "open the firewall: properties that are no JSON",
		sql:  `UPDATE vaults SET properties = '' WHERE vault_id = {closed}`,
		asks: []ask{readInside}, where: "directory", found: "JSON",
	},
	{
		name: "swap the data keys of two vaults",
		sql: `CREATE TABLE before AS SELECT * FROM vaults;
			UPDATE vaults SET data_key_sealed = (SELECT o.data_key_sealed FROM before o WHERE o.vault_id = {theirs}) WHERE vault_id = {target};
			UPDATE vaults SET data_key_sealed = (SELECT o.data_key_sealed FROM before o WHERE o.vault_id = {target}) WHERE vault_id = {theirs}`,
		asks: []ask{readDB, stealDB}, where: "directory", found: "vaults",
	},
	{
		name: "rename a vault",
		sql:  `UPDATE vaults SET name = 'renamed', name_key = 'renamed' WHERE vault_id = {target}`,
		asks: []ask{{who: "owner", target: "renamed/secrets/db"}, readDB}, where: "directory", found: "{target}",
	},
	{
		name: "swap the names of two vaults, so that the outsider's rights are at the other", alsoPostgreSQL: true,
		sql: `UPDATE vaults SET name = 'x', name_key = 'x' WHERE vault_id = {theirs};
			UPDATE vaults SET name = 'theirs', name_key = 'theirs' WHERE vault_id = {target};
			UPDATE vaults SET name = 'target', name_key = 'target' WHERE vault_id = {theirs}`,
		asks: []ask{{who: "outsider", target: "theirs/secrets/db"}, readDB}, where: "directory", found: "vault",
	},
	{
		name: "find a vault by another's name: name_key alone",
		sql: `UPDATE vaults SET name_key = 'x' WHERE vault_id = {theirs};
			UPDATE vaults SET name_key = 'theirs' WHERE vault_id = {target}`,
		asks: []ask{{who: "outsider", target: "theirs/secrets/db"}}, where: "directory", found: "keys",
	},
	{
		name: "swap the ids of two vaults",
		sql: `UPDATE vaults SET vault_id = 'x' WHERE vault_id = {theirs};
			UPDATE vaults SET vault_id = {theirs} WHERE vault_id = {target};
			UPDATE vaults SET vault_id = {target} WHERE vault_id = 'x'`,
		asks: []ask{{who: "outsider", target: "theirs/secrets/db"}, readDB}, where: "directory", found: "vault",
	},
	{
		name: "copy a vault's row under another id and name",
		sql: `INSERT INTO vaults SELECT tenant_id, 'feedfeed-feed-4eed-8eed-feedfeedfeed', subscription_id, group_key, group_name, 'forged', 'forged', location, sku, rbac, retention_days,
				purge_protection, properties, tags, created_by, created_us, updated_by, updated_us, deleted_us, purge_us, data_key_sealed, row_mac FROM vaults WHERE vault_id = {target}`,
		asks: []ask{{who: "owner", target: "forged/secrets/db"}}, where: "directory", found: "directory",
	},
	{
		name: "move a vault to another resource group",
		sql:  `UPDATE vaults SET group_key = 'other', group_name = 'other' WHERE vault_id = {target}`,
		asks: []ask{readDB, stealDB}, where: "directory", found: "{target}",
	},
	{
		name: "undelete a vault: deleted_us to NULL",
		sql:  `UPDATE vaults SET deleted_us = NULL, purge_us = NULL WHERE vault_id = {buried}`,
		asks: []ask{readBones, {who: "owner", target: "buried/secrets/bones"}}, where: "directory", found: "{buried}",
	},
	{
		name: "undelete a vault: bring back its row and its role assignments",
		sql: `DELETE FROM vaults WHERE vault_id = {buried};
			INSERT INTO vaults SELECT * FROM y_vaults WHERE vault_id = {buried};
			INSERT INTO role_assignments SELECT * FROM y_role_assignments WHERE scope_key LIKE '%/vaults/buried'`,
		asks: []ask{readBones, {who: "owner", target: "buried/secrets/bones"}}, where: "directory", found: "directory",
	},
	{
		name: "purge a vault ahead of time: purge_us", stopped: true,
		do:    purgeBuried,
		where: "directory", found: "{buried}",
	},
	{
		name: "shorten the retention and turn purge protection over",
		sql:  `UPDATE vaults SET retention_days = 7, purge_protection = TRUE WHERE vault_id = {target}`,
		asks: []ask{readDB}, where: "directory", found: "{target}",
	},
	{
		name: "edit a vault's tags",
		sql:  `UPDATE vaults SET tags = '{"a":"b"}' WHERE vault_id = {target}`,
		asks: []ask{readDB}, where: "directory", found: "{target}",
	},
	{
		name: "delete a vault's row",
		sql:  `DELETE FROM vaults WHERE vault_id = {target}`,
		asks: []ask{readDB, {who: "outsider", target: "target/secrets/db"}}, where: "directory", found: "set directory",
	},
	{
		name: "hide a vault: its tenant_id",
		sql:  `UPDATE vaults SET tenant_id = 'x' WHERE vault_id = {target}`,
		asks: []ask{readDB}, where: "directory", found: "{target}",
	},
	{
		name: "edit a resource group's tags",
		sql:  `UPDATE resource_groups SET tags = '{"a":"b"}'`,
		asks: []ask{readDB}, where: "directory", found: "resource_groups",
	},
	{
		name: "delete a resource group",
		sql:  `DELETE FROM resource_groups`,
		asks: []ask{readDB}, where: "directory", found: "set directory",
	},
	{
		name: "a flag that is neither true nor false, and a secret deleted in its shadow",
		sql: `UPDATE vaults SET rbac = 2 WHERE vault_id = {theirs};
			DELETE FROM secrets WHERE vault_id = {target} AND name_key = 'api'`,
		asks: []ask{{who: "outsider", target: "theirs/secrets/mine", status: []int{200, 500}}}, where: targetVault, found: "set vault/{target}",
	},
}

// purgeBuried looks that the scheduler does not purge what only an edited date makes due: it has
// looked at the vaults before the task that settle waits for.
func purgeBuried(p *place) {
	p.exec(`UPDATE vaults SET purge_us = 1 WHERE vault_id = {buried}`)
	p.t.Cleanup(func() {
		if n := p.number(`SELECT COUNT(*) FROM secret_versions WHERE vault_id = {buried}`); n != 1 {
			p.t.Errorf("the buried vault has %d versions; want 1", n)
		}
	})
}
