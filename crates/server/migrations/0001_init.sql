-- Times are milliseconds since the Unix epoch; ids are UUIDs as text; digests are hexadecimal.

CREATE TABLE accounts (
    id            TEXT PRIMARY KEY,
    email         TEXT NOT NULL COLLATE NOCASE UNIQUE,
    given_name    TEXT NOT NULL DEFAULT '',
    family_name   TEXT NOT NULL DEFAULT '',
    password_hash TEXT,
    created_at    BIGINT NOT NULL
);

-- Tokens exist here only as SHA-256: who reads this table can log in as nobody.
CREATE TABLE login_tokens (
    digest     TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    expires_at BIGINT NOT NULL
);

CREATE TABLE sessions (
    digest     TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE projects (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    owner_id    TEXT NOT NULL REFERENCES accounts (id),
    is_default  BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    UNIQUE (owner_id, name)
);

-- N slots of a size run N apps of it at once.
CREATE TABLE hardware (
    project_id       TEXT NOT NULL REFERENCES projects (id),
    name             TEXT NOT NULL,
    slots            BIGINT NOT NULL,
    memory_gib       BIGINT NOT NULL,
    millicores       BIGINT NOT NULL,
    enclave_size_mib BIGINT NOT NULL,
    -- An app on it lives at most this long; NULL: as long as it asks for.
    max_life_seconds BIGINT,
    PRIMARY KEY (project_id, name)
);

CREATE TABLE apps (
    id                 TEXT PRIMARY KEY,
    project_id         TEXT NOT NULL REFERENCES projects (id),
    owner_id           TEXT NOT NULL REFERENCES accounts (id),
    name               TEXT NOT NULL,
    hardware_name      TEXT NOT NULL,
    domain_name        TEXT NOT NULL,
    config_domain_name TEXT NOT NULL,
    -- What is measured, in its canonical form.
    workload           TEXT NOT NULL,
    certificate_chain  TEXT,
    port               BIGINT,
    created_at         BIGINT NOT NULL,
    expires_at         BIGINT NOT NULL,
    ready_at           BIGINT,
    stopped_at         BIGINT,
    status             TEXT NOT NULL
        CHECK (status IN ('spawning', 'initializing', 'running', 'on_error', 'stopped')),
    status_reason      TEXT,
    -- Set before the app is stopped, so that a crash in between stops it all the same.
    stop_reason        TEXT,
    confinement        TEXT NOT NULL DEFAULT '[]',
    idempotency_key    TEXT,
    request_digest     TEXT NOT NULL
);

-- What must never be, whatever the code above does.
CREATE UNIQUE INDEX one_live_app_of_a_name ON apps (project_id, name)
    WHERE status IN ('spawning', 'initializing', 'running');
CREATE UNIQUE INDEX one_live_app_at_a_domain ON apps (domain_name)
    WHERE status IN ('spawning', 'initializing', 'running');
CREATE UNIQUE INDEX one_app_of_a_request ON apps (owner_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX apps_of_an_owner ON apps (owner_id, created_at);

-- Every transition, for good. Not tied to the row: it outlives a forgotten app.
CREATE TABLE events (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    app_id      TEXT NOT NULL,
    at          BIGINT NOT NULL,
    from_status TEXT,
    to_status   TEXT NOT NULL,
    reason      TEXT
);
CREATE INDEX events_of_an_app ON events (app_id, id);

-- The loopback port that an app had last: its URL stays when it is deployed again.
CREATE TABLE ports (
    project_id TEXT NOT NULL,
    name       TEXT NOT NULL,
    origin     TEXT NOT NULL,
    port       BIGINT NOT NULL,
    PRIMARY KEY (project_id, name, origin)
);
