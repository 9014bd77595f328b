-- The same text serves SQLite and PostgreSQL. docs/cas-store.md says what is sealed under what.

-- One row: how far this store is. Every writer locks it first.
CREATE TABLE chain (
    id       BIGINT PRIMARY KEY CHECK (id = 1),
    store_id BYTEA NOT NULL,
    key_id   BYTEA NOT NULL,
    sequence BIGINT NOT NULL,
    head     BYTEA NOT NULL,
    sealed   BYTEA NOT NULL
);

-- One row for each transaction: which cells it changed, and the head of the chain after it.
CREATE TABLE history (
    sequence BIGINT PRIMARY KEY,
    head     BYTEA NOT NULL,
    sealed   BYTEA NOT NULL
);

-- Everything else. The kind says what a cell is for, the key whose it is; `sequence` names the
-- transaction that wrote it, `expires` (milliseconds since the Unix epoch) when it may be forgotten.
CREATE TABLE cell (
    kind     BIGINT NOT NULL,
    key      BYTEA NOT NULL,
    sequence BIGINT NOT NULL,
    expires  BIGINT,
    sealed   BYTEA NOT NULL,
    PRIMARY KEY (kind, key)
);
