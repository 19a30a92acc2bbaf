-- +goose Up
CREATE TABLE meta (
	key     TEXT NOT NULL PRIMARY KEY,
	value   TEXT NOT NULL,
	row_mac BLOB
) STRICT;

CREATE TABLE settings (
	tenant_id TEXT NOT NULL,
	name      TEXT NOT NULL PRIMARY KEY,
	value     TEXT NOT NULL,
	row_mac   BLOB NOT NULL
) STRICT;

CREATE TABLE revisions (
	scope         TEXT    NOT NULL PRIMARY KEY,
	revision      INTEGER NOT NULL,
	members       INTEGER NOT NULL,
	digest_sealed BLOB    NOT NULL
) STRICT;

CREATE TABLE leases (
	name       TEXT    NOT NULL PRIMARY KEY,
	holder     TEXT    NOT NULL,
	fence      INTEGER NOT NULL,
	expires_us INTEGER NOT NULL
) STRICT;

CREATE TABLE journal (
	commit_id    TEXT    NOT NULL PRIMARY KEY,
	tenant_id    TEXT    NOT NULL,
	committed_us INTEGER NOT NULL,
	entries      INTEGER NOT NULL,
	records      BLOB    NOT NULL,
	row_mac      BLOB    NOT NULL,
	position     INTEGER,
	position_mac BLOB
) STRICT;
CREATE UNIQUE INDEX journal_position ON journal (position) WHERE position IS NOT NULL;
CREATE INDEX journal_waiting ON journal (committed_us, commit_id) WHERE position IS NULL;

CREATE TABLE audit_segments (
	tenant_id      TEXT    NOT NULL,
	first_position INTEGER NOT NULL PRIMARY KEY,
	last_position  INTEGER NOT NULL,
	file           TEXT    NOT NULL,
	node           TEXT    NOT NULL,
	digest         BLOB    NOT NULL,
	closed_us      INTEGER NOT NULL,
	row_mac        BLOB    NOT NULL
) STRICT;

CREATE TABLE keyring (
	ordinal     INTEGER NOT NULL PRIMARY KEY,
	tenant_id   TEXT    NOT NULL,
	key_id      TEXT    NOT NULL UNIQUE,
	purpose     TEXT    NOT NULL,
	root_key_id TEXT    NOT NULL,
	key_sealed  BLOB    NOT NULL,
	created_us  INTEGER NOT NULL
) STRICT;

CREATE TABLE resource_groups (
	tenant_id       TEXT    NOT NULL,
	subscription_id TEXT    NOT NULL,
	name_key        TEXT    NOT NULL,
	name            TEXT    NOT NULL,
	location        TEXT    NOT NULL,
	tags            TEXT    NOT NULL,
	created_us      INTEGER NOT NULL,
	updated_us      INTEGER NOT NULL,
	row_mac         BLOB    NOT NULL,
	PRIMARY KEY (tenant_id, subscription_id, name_key)
) STRICT;

CREATE TABLE vaults (
	tenant_id        TEXT    NOT NULL,
	vault_id         TEXT    NOT NULL PRIMARY KEY,
	subscription_id  TEXT    NOT NULL,
	group_key        TEXT    NOT NULL,
	group_name       TEXT    NOT NULL,
	name_key         TEXT    NOT NULL UNIQUE,
	name             TEXT    NOT NULL,
	location         TEXT    NOT NULL,
	sku              TEXT    NOT NULL,
	rbac             INTEGER NOT NULL,
	retention_days   INTEGER NOT NULL,
	purge_protection INTEGER NOT NULL,
	properties       TEXT    NOT NULL,
	tags             TEXT    NOT NULL,
	created_by       TEXT    NOT NULL,
	created_us       INTEGER NOT NULL,
	updated_by       TEXT    NOT NULL,
	updated_us       INTEGER NOT NULL,
	deleted_us       INTEGER,
	purge_us         INTEGER,
	data_key_sealed  BLOB    NOT NULL,
	row_mac          BLOB    NOT NULL
) STRICT;
CREATE INDEX vaults_group ON vaults (tenant_id, subscription_id, group_key, name_key);
CREATE INDEX vaults_purge ON vaults (purge_us) WHERE purge_us IS NOT NULL;

CREATE TABLE secrets (
	tenant_id       TEXT    NOT NULL,
	vault_id        TEXT    NOT NULL,
	name_key        TEXT    NOT NULL,
	part            INTEGER NOT NULL,
	name            TEXT    NOT NULL,
	newest          INTEGER NOT NULL,
	newest_mac      BLOB    NOT NULL,
	versions_sealed BLOB    NOT NULL,
	generation      INTEGER NOT NULL,
	created_us      INTEGER NOT NULL,
	deleted_us      INTEGER,
	purge_us        INTEGER,
	row_mac         BLOB    NOT NULL,
	PRIMARY KEY (vault_id, part, name_key), -- the rows of a part lie together: they are read as a whole
	UNIQUE (vault_id, name_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX secrets_purge ON secrets (purge_us) WHERE purge_us IS NOT NULL;

CREATE TABLE secret_versions (
	tenant_id     TEXT    NOT NULL,
	vault_id      TEXT    NOT NULL,
	name_key      TEXT    NOT NULL,
	version       TEXT    NOT NULL,
	ordinal       INTEGER NOT NULL,
	enabled       INTEGER NOT NULL,
	not_before_us INTEGER,
	expires_us    INTEGER,
	created_us    INTEGER NOT NULL,
	updated_us    INTEGER NOT NULL,
	content_type  TEXT,
	tags          TEXT,
	value_sealed  BLOB    NOT NULL,
	row_mac       BLOB    NOT NULL,
	PRIMARY KEY (vault_id, name_key, ordinal),
	UNIQUE (vault_id, name_key, version)
) STRICT;

CREATE TABLE applications (
	tenant_id      TEXT    NOT NULL,
	application_id TEXT    NOT NULL PRIMARY KEY,
	app_id         TEXT    NOT NULL UNIQUE,
	display_name   TEXT    NOT NULL,
	created_us     INTEGER NOT NULL,
	row_mac        BLOB    NOT NULL
) STRICT;

CREATE TABLE principals (
	tenant_id    TEXT    NOT NULL,
	object_id    TEXT    NOT NULL PRIMARY KEY,
	kind         TEXT    NOT NULL,
	app_id       TEXT    UNIQUE,
	display_name TEXT    NOT NULL,
	enabled      INTEGER NOT NULL,
	resource_id  TEXT,
	location     TEXT,
	tags         TEXT,
	created_us   INTEGER NOT NULL,
	row_mac      BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX principals_resource ON principals (tenant_id, resource_id) WHERE resource_id IS NOT NULL;

CREATE TABLE group_members (
	tenant_id  TEXT    NOT NULL,
	group_id   TEXT    NOT NULL,
	member_id  TEXT    NOT NULL,
	created_us INTEGER NOT NULL,
	row_mac    BLOB    NOT NULL,
	PRIMARY KEY (group_id, member_id)
) STRICT;

CREATE TABLE credentials (
	tenant_id         TEXT    NOT NULL,
	credential_id     TEXT    NOT NULL PRIMARY KEY,
	app_id            TEXT    NOT NULL,
	kind              TEXT    NOT NULL,
	display_name      TEXT    NOT NULL,
	hint              TEXT    NOT NULL,
	secret_hmac       BLOB,
	certificate       BLOB,
	thumbprint_sha1   TEXT,
	thumbprint_sha256 TEXT,
	not_before_us     INTEGER NOT NULL,
	expires_us        INTEGER NOT NULL,
	created_us        INTEGER NOT NULL,
	row_mac           BLOB    NOT NULL
) STRICT;
CREATE INDEX credentials_app ON credentials (app_id, credential_id);

CREATE TABLE signing_keys (
	tenant_id      TEXT    NOT NULL,
	key_id         TEXT    NOT NULL PRIMARY KEY,
	certificate    BLOB    NOT NULL,
	private_sealed BLOB    NOT NULL,
	created_us     INTEGER NOT NULL,
	active_us      INTEGER NOT NULL,
	retire_us      INTEGER NOT NULL,
	row_mac        BLOB    NOT NULL
) STRICT;

CREATE TABLE role_assignments (
	tenant_id          TEXT    NOT NULL,
	assignment_id      TEXT    NOT NULL,
	scope_key          TEXT    NOT NULL,
	scope              TEXT    NOT NULL,
	role_definition_id TEXT    NOT NULL,
	principal_id       TEXT    NOT NULL,
	principal_type     TEXT    NOT NULL,
	description        TEXT,
	created_by         TEXT    NOT NULL,
	created_us         INTEGER NOT NULL,
	updated_by         TEXT    NOT NULL,
	updated_us         INTEGER NOT NULL,
	row_mac            BLOB    NOT NULL,
	PRIMARY KEY (tenant_id, scope_key, assignment_id),
	UNIQUE (tenant_id, scope_key, role_definition_id, principal_id)
) STRICT;
CREATE INDEX role_assignments_principal ON role_assignments (tenant_id, principal_id);

CREATE TABLE events (
	event_id   TEXT    NOT NULL PRIMARY KEY,
	tenant_id  TEXT    NOT NULL,
	vault_id   TEXT    NOT NULL,
	type       TEXT    NOT NULL,
	subject    TEXT    NOT NULL,
	data       TEXT    NOT NULL,
	created_us INTEGER NOT NULL
) STRICT;
CREATE INDEX events_created ON events (created_us, event_id);

INSERT INTO meta (key, value) VALUES ('least_reader', '1');

-- +goose Down
SELECT 1;
