//go:build unix

package tamper

// inJournal is a row of the journal that was numbered before the attack and is not the last.
const inJournal = `position = (SELECT MAX(j.position) FROM journal j WHERE j.position <= 10)`

// lastInJournal is the last row that was numbered.
const lastInJournal = `position = (SELECT MAX(j.position) FROM journal j)`

const cutLog = `DELETE FROM journal WHERE commit_id NOT IN (SELECT commit_id FROM y_journal);
	DELETE FROM revisions WHERE scope = 'audit';
	INSERT INTO revisions SELECT * FROM y_revisions WHERE scope = 'audit'`

// journalAttacks are on the audit log. Some run with the server stopped, since it numbers what
// waits every second.
var journalAttacks = []attack{
	{
		name:  "edit an entry",
		sql:   `UPDATE journal SET records = (SELECT o.records FROM journal o WHERE o.position = 1) WHERE ` + inJournal,
		where: "audit log", found: "position", readLog: true,
	},
	{
		name:  "edit the time of an entry",
		sql:   `UPDATE journal SET committed_us = 1 WHERE ` + inJournal,
		where: "audit log", found: "position", readLog: true,
	},
	{
		name:  "delete an entry",
		sql:   `DELETE FROM journal WHERE ` + inJournal,
		where: "audit log", found: "audit log",
	},
	{
		name:  "delete the first entry",
		sql:   `DELETE FROM journal WHERE position = 1`,
		where: "audit log", found: "audit",
	},
	{
		name: "delete the end of the log", stopped: true,
		sql:   `DELETE FROM journal WHERE position > 10`,
		where: "audit log", found: "audit",
	},
	{
		name:  "delete the end of the log with its revision",
		sql:   cutLog,
		where: "audit log", found: "lies before",
	},
	{
		name: "delete the end of the log with its revision, with the server stopped", alsoPostgreSQL: true, stopped: true,
		sql:     cutLog,
		noStart: "lies behind",
	},
	{
		name: "swap the positions of two entries",
		sql: `UPDATE journal SET position = -1 WHERE position = 1;
			UPDATE journal SET position = 1 WHERE position = 2;
			UPDATE journal SET position = 2 WHERE position = -1`,
		where: "audit log", found: "audit log", readLog: true,
	},
	{
		name: "swap two entries with the MACs of their positions",
		sql: `UPDATE journal SET position = -1 WHERE position = 1;
			UPDATE journal SET position = 1, position_mac = (SELECT o.position_mac FROM journal o WHERE o.position = -1) WHERE position = 2;
			UPDATE journal SET position = 2 WHERE position = -1`,
		where: "audit log", found: "audit log", readLog: true,
	},
	{
		name: "forge an entry at the end of the log", stopped: true,
		sql: `INSERT INTO journal (commit_id, tenant_id, committed_us, entries, row_mac, position, position_mac, records) SELECT 'feedfeedfeedfeedfeedfeedfeedfeed', tenant_id, committed_us, entries, row_mac, position + entries, position_mac, records
			FROM journal WHERE ` + lastInJournal,
		where: "audit log", found: "audit log",
	},
	{
		name: "forge an entry that waits for its number", alsoPostgreSQL: true,
		sql: `INSERT INTO journal (commit_id, tenant_id, committed_us, entries, row_mac, position, position_mac, records) SELECT 'feedfeedfeedfeedfeedfeedfeedfeed', tenant_id, committed_us, entries, row_mac, NULL, NULL, records
			FROM journal WHERE ` + lastInJournal,
		where: "audit log", found: "journal",
	},
	{
		name: "forge an entry that waits and counts for none",
		sql: `INSERT INTO journal (commit_id, tenant_id, committed_us, entries, row_mac, position, position_mac, records) SELECT 'feedfeedfeedfeedfeedfeedfeedfeed', tenant_id, committed_us, 0, row_mac, NULL, NULL, records
			FROM journal WHERE ` + lastInJournal,
		where: "audit log", found: "journal",
	},
	{
		name:  "take the number from an entry, so that it gets another",
		sql:   `UPDATE journal SET position = NULL, position_mac = NULL WHERE ` + inJournal,
		where: "audit log", found: "audit",
	},
	{
		name: "a trigger that eats the entries of the outsider's requests",
		sql:  `CREATE TRIGGER eat AFTER INSERT ON journal BEGIN DELETE FROM journal WHERE commit_id = NEW.commit_id; END`,
		// It eats the scrub's own entries too: log and metric have to do.
		asks: []ask{{who: "outsider", target: "theirs/secrets/mine", may: "THEIRS-mine", status: []int{200}}}, found: "trigger eat",
	},
}
