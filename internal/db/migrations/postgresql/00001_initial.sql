-- +goose Up
CREATE TABLE meta (
	key     TEXT NOT NULL PRIMARY KEY,
	value   TEXT NOT NULL,
	row_mac BYTEA
);

CREATE TABLE settings (
	tenant_id TEXT  NOT NULL,
	name      TEXT  NOT NULL PRIMARY KEY,
	value     TEXT  NOT NULL,
	row_mac   BYTEA NOT NULL
);

CREATE TABLE revisions (
	scope         TEXT   NOT NULL PRIMARY KEY,
	revision      BIGINT NOT NULL,
	members       BIGINT NOT NULL,
	digest_sealed BYTEA  NOT NULL
);

CREATE TABLE leases (
	name       TEXT   NOT NULL PRIMARY KEY,
	holder     TEXT   NOT NULL,
	fence      BIGINT NOT NULL,
	expires_us BIGINT NOT NULL
);

CREATE TABLE journal (
	commit_id    TEXT   NOT NULL PRIMARY KEY,
	tenant_id    TEXT   NOT NULL,
	committed_us BIGINT NOT NULL,
	entries      BIGINT NOT NULL,
	records      BYTEA  NOT NULL,
	row_mac      BYTEA  NOT NULL,
	position     BIGINT,
	position_mac BYTEA
);
CREATE UNIQUE INDEX journal_position ON journal (position) WHERE position IS NOT NULL;
CREATE INDEX journal_waiting ON journal (committed_us, commit_id) WHERE position IS NULL;

CREATE TABLE audit_segments (
	tenant_id      TEXT   NOT NULL,
	first_position BIGINT NOT NULL PRIMARY KEY,
	last_position  BIGINT NOT NULL,
	file           TEXT   NOT NULL,
	node           TEXT   NOT NULL,
	digest         BYTEA  NOT NULL,
	closed_us      BIGINT NOT NULL,
	row_mac        BYTEA  NOT NULL
);

CREATE TABLE keyring (
	ordinal     BIGINT NOT NULL PRIMARY KEY,
	tenant_id   TEXT   NOT NULL,
	key_id      TEXT   NOT NULL UNIQUE,
	purpose     TEXT   NOT NULL,
	root_key_id TEXT   NOT NULL,
	key_sealed  BYTEA  NOT NULL,
	created_us  BIGINT NOT NULL
);

CREATE TABLE resource_groups (
	tenant_id       TEXT   NOT NULL,
	subscription_id TEXT   NOT NULL,
	name_key        TEXT   NOT NULL,
	name            TEXT   NOT NULL,
	location        TEXT   NOT NULL,
	tags            TEXT   NOT NULL,
	created_us      BIGINT NOT NULL,
	updated_us      BIGINT NOT NULL,
	row_mac         BYTEA  NOT NULL,
	PRIMARY KEY (tenant_id, subscription_id, name_key)
);

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
	rbac             BOOLEAN NOT NULL,
	retention_days   BIGINT  NOT NULL,
	purge_protection BOOLEAN NOT NULL,
	properties       TEXT    NOT NULL,
	tags             TEXT    NOT NULL,
	created_by       TEXT    NOT NULL,
	created_us       BIGINT  NOT NULL,
	updated_by       TEXT    NOT NULL,
	updated_us       BIGINT  NOT NULL,
	deleted_us       BIGINT,
	purge_us         BIGINT,
	data_key_sealed  BYTEA   NOT NULL,
	row_mac          BYTEA   NOT NULL
);
CREATE INDEX vaults_group ON vaults (tenant_id, subscription_id, group_key, name_key);
CREATE INDEX vaults_purge ON vaults (purge_us) WHERE purge_us IS NOT NULL;

CREATE TABLE secrets (
	tenant_id       TEXT   NOT NULL,
	vault_id        TEXT   NOT NULL,
	name_key        TEXT   NOT NULL,
	part            BIGINT NOT NULL,
	name            TEXT   NOT NULL,
	newest          BIGINT NOT NULL,
	newest_mac      BYTEA  NOT NULL,
	versions_sealed BYTEA  NOT NULL,
	generation      BIGINT NOT NULL,
	created_us      BIGINT NOT NULL,
	deleted_us      BIGINT,
	purge_us        BIGINT,
	row_mac         BYTEA  NOT NULL,
	PRIMARY KEY (vault_id, name_key)
);
CREATE INDEX secrets_part ON secrets (vault_id, part);
CREATE INDEX secrets_purge ON secrets (purge_us) WHERE purge_us IS NOT NULL;

CREATE TABLE secret_versions (
	tenant_id     TEXT    NOT NULL,
	vault_id      TEXT    NOT NULL,
	name_key      TEXT    NOT NULL,
	version       TEXT    NOT NULL,
	ordinal       BIGINT  NOT NULL,
	enabled       BOOLEAN NOT NULL,
	not_before_us BIGINT,
	expires_us    BIGINT,
	created_us    BIGINT  NOT NULL,
	updated_us    BIGINT  NOT NULL,
	content_type  TEXT,
	tags          TEXT,
	value_sealed  BYTEA   NOT NULL,
	row_mac       BYTEA   NOT NULL,
	PRIMARY KEY (vault_id, name_key, ordinal),
	UNIQUE (vault_id, name_key, version)
);

CREATE TABLE applications (
	tenant_id      TEXT   NOT NULL,
	application_id TEXT   NOT NULL PRIMARY KEY,
	app_id         TEXT   NOT NULL UNIQUE,
	display_name   TEXT   NOT NULL,
	created_us     BIGINT NOT NULL,
	row_mac        BYTEA  NOT NULL
);

CREATE TABLE principals (
	tenant_id    TEXT    NOT NULL,
	object_id    TEXT    NOT NULL PRIMARY KEY,
	kind         TEXT    NOT NULL,
	app_id       TEXT    UNIQUE,
	display_name TEXT    NOT NULL,
	enabled      BOOLEAN NOT NULL,
	resource_id  TEXT,
	location     TEXT,
	tags         TEXT,
	created_us   BIGINT  NOT NULL,
	row_mac      BYTEA   NOT NULL
);
CREATE UNIQUE INDEX principals_resource ON principals (tenant_id, resource_id) WHERE resource_id IS NOT NULL;

CREATE TABLE group_members (
	tenant_id  TEXT   NOT NULL,
	group_id   TEXT   NOT NULL,
	member_id  TEXT   NOT NULL,
	created_us BIGINT NOT NULL,
	row_mac    BYTEA  NOT NULL,
	PRIMARY KEY (group_id, member_id)
);

CREATE TABLE credentials (
	tenant_id         TEXT   NOT NULL,
	credential_id     TEXT   NOT NULL PRIMARY KEY,
	app_id            TEXT   NOT NULL,
	kind              TEXT   NOT NULL,
	display_name      TEXT   NOT NULL,
	hint              TEXT   NOT NULL,
	secret_hmac       BYTEA,
	certificate       BYTEA,
	thumbprint_sha1   TEXT,
	thumbprint_sha256 TEXT,
	not_before_us     BIGINT NOT NULL,
	expires_us        BIGINT NOT NULL,
	created_us        BIGINT NOT NULL,
	row_mac           BYTEA  NOT NULL
);
CREATE INDEX credentials_app ON credentials (app_id, credential_id);

CREATE TABLE signing_keys (
	tenant_id      TEXT   NOT NULL,
	key_id         TEXT   NOT NULL PRIMARY KEY,
	certificate    BYTEA  NOT NULL,
	private_sealed BYTEA  NOT NULL,
	created_us     BIGINT NOT NULL,
	active_us      BIGINT NOT NULL,
	retire_us      BIGINT NOT NULL,
	row_mac        BYTEA  NOT NULL
);

CREATE TABLE role_assignments (
	tenant_id          TEXT   NOT NULL,
	assignment_id      TEXT   NOT NULL,
	scope_key          TEXT   NOT NULL,
	scope              TEXT   NOT NULL,
	role_definition_id TEXT   NOT NULL,
	principal_id       TEXT   NOT NULL,
	principal_type     TEXT   NOT NULL,
	description        TEXT,
	created_by         TEXT   NOT NULL,
	created_us         BIGINT NOT NULL,
	updated_by         TEXT   NOT NULL,
	updated_us         BIGINT NOT NULL,
	row_mac            BYTEA  NOT NULL,
	PRIMARY KEY (tenant_id, scope_key, assignment_id),
	UNIQUE (tenant_id, scope_key, role_definition_id, principal_id)
);
CREATE INDEX role_assignments_principal ON role_assignments (tenant_id, principal_id);

CREATE TABLE events (
	event_id   TEXT   NOT NULL PRIMARY KEY,
	tenant_id  TEXT   NOT NULL,
	vault_id   TEXT   NOT NULL,
	type       TEXT   NOT NULL,
	subject    TEXT   NOT NULL,
	data       TEXT   NOT NULL,
	created_us BIGINT NOT NULL
);
CREATE INDEX events_created ON events (created_us, event_id);

INSERT INTO meta (key, value) VALUES ('least_reader', '1');

-- +goose Down
SELECT 1;
