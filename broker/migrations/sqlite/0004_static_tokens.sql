-- The tokens that the operator makes for clients without a browser. Times are whole seconds since 1970.
-- A revoked one stays for a while, so that running brokers learn of it.

CREATE TABLE static_tokens (
    id      TEXT    NOT NULL PRIMARY KEY,
    name    TEXT    NOT NULL,
    hash    BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    created INTEGER NOT NULL,
    expires INTEGER,
    revoked INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX static_tokens_name ON static_tokens (name) WHERE revoked IS NULL;
CREATE INDEX static_tokens_revoked ON static_tokens (revoked) WHERE revoked IS NOT NULL;

-- The token file whose records were taken over, by the SHA-256 of its content. There is one or none.
CREATE TABLE token_imports (
    slot     INTEGER NOT NULL PRIMARY KEY CHECK (slot = 1),
    hash     BLOB    NOT NULL CHECK (length(hash) = 32),
    imported INTEGER NOT NULL
) STRICT;
