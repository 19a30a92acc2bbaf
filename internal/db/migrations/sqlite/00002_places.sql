-- +goose Up
-- Not unique any more: a row that somebody else has put in must not keep ours from being stored.
DROP INDEX journal_position;
CREATE INDEX journal_position ON journal (position) WHERE position IS NOT NULL;

-- Ids rise with the time, so that the table grows at one end. Nobody has followed the outbox yet.
DROP TABLE events;
CREATE TABLE events (
	event_id   TEXT    NOT NULL PRIMARY KEY,
	tenant_id  TEXT    NOT NULL,
	vault_id   TEXT    NOT NULL,
	type       TEXT    NOT NULL,
	subject    TEXT    NOT NULL,
	data       TEXT    NOT NULL,
	created_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down
SELECT 1;
