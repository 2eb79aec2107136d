-- What the authorization server keeps. Times are whole seconds since 1970; hashes are SHA-256.
-- No column holds a token, a code, a cookie or a password in the clear.

CREATE TABLE clients (
    id            TEXT    NOT NULL PRIMARY KEY,
    origin        TEXT    NOT NULL CHECK (origin IN ('operator', 'registration', 'document')),
    name          TEXT,
    uri           TEXT,
    redirect_uris TEXT    NOT NULL, -- a JSON array of strings
    secret        BLOB    CHECK (length(secret) = 32),
    refreshes     INTEGER NOT NULL,
    created       INTEGER NOT NULL,
    unused_until  INTEGER,
    fingerprint   BLOB    CHECK (length(fingerprint) = 32),
    redeemed      INTEGER NOT NULL -- when a code of it was redeemed last, or when it was made
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX clients_fingerprint ON clients (fingerprint) WHERE fingerprint IS NOT NULL;
CREATE INDEX clients_unused_until ON clients (unused_until) WHERE unused_until IS NOT NULL;
CREATE INDEX clients_redeemed ON clients (redeemed);

CREATE TABLE sign_ins (
    handle         BLOB    NOT NULL PRIMARY KEY CHECK (length(handle) = 32),
    page           TEXT, -- with it, none of the request is there
    client         TEXT,
    client_name    TEXT,
    redirect_uri   TEXT,
    state          TEXT,
    challenge      TEXT,
    resource       TEXT,
    scope          TEXT,
    refreshes      INTEGER,
    reauthenticate INTEGER,
    binding        BLOB    CHECK (length(binding) = 32),
    provider       TEXT,
    upstream_state BLOB    CHECK (length(upstream_state) = 32),
    expires        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX sign_ins_upstream_state ON sign_ins (upstream_state)
    WHERE upstream_state IS NOT NULL;
CREATE INDEX sign_ins_expires ON sign_ins (expires);

CREATE TABLE codes (
    hash           BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    family         TEXT    NOT NULL,
    issuer         TEXT    NOT NULL,
    subject        TEXT    NOT NULL,
    display_name   TEXT    NOT NULL,
    provider       TEXT    NOT NULL,
    client         TEXT    NOT NULL,
    client_name    TEXT    NOT NULL,
    redirect_uri   TEXT    NOT NULL,
    state          TEXT,
    challenge      TEXT    NOT NULL,
    resource       TEXT    NOT NULL,
    scope          TEXT    NOT NULL,
    refreshes      INTEGER NOT NULL,
    reauthenticate INTEGER NOT NULL,
    issued         INTEGER NOT NULL,
    expires        INTEGER NOT NULL,
    used           INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX codes_family ON codes (family);
CREATE INDEX codes_client ON codes (client);
CREATE INDEX codes_expires ON codes (expires);

CREATE TABLE grants (
    family       TEXT    NOT NULL PRIMARY KEY,
    client       TEXT    NOT NULL,
    client_name  TEXT    NOT NULL,
    issuer       TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    display_name TEXT    NOT NULL,
    provider     TEXT    NOT NULL,
    resource     TEXT    NOT NULL,
    scope        TEXT    NOT NULL,
    created      INTEGER NOT NULL,
    refreshed    INTEGER NOT NULL,
    revoked      INTEGER,
    ends         INTEGER NOT NULL -- when the last of its tokens and its code may go
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_client ON grants (client);
CREATE INDEX grants_user ON grants (issuer, subject, created);
CREATE INDEX grants_revoked ON grants (revoked) WHERE revoked IS NOT NULL;
CREATE INDEX grants_ends ON grants (ends);

CREATE TABLE access_tokens (
    hash    BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    family  TEXT    NOT NULL REFERENCES grants (family),
    scope   TEXT    NOT NULL,
    issued  INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    revoked INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX access_tokens_family ON access_tokens (family);
CREATE INDEX access_tokens_expires ON access_tokens (expires);

-- A used token has all of the last four columns, an unused one none.
CREATE TABLE refresh_tokens (
    hash         BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    family       TEXT    NOT NULL REFERENCES grants (family),
    issued       INTEGER NOT NULL,
    expires      INTEGER NOT NULL,
    used         INTEGER,
    salt         BLOB    CHECK (length(salt) = 32),
    next_access  BLOB    CHECK (length(next_access) = 32),
    next_refresh BLOB    CHECK (length(next_refresh) = 32)
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_family ON refresh_tokens (family);
CREATE INDEX refresh_tokens_expires ON refresh_tokens (expires);

CREATE TABLE consents (
    issuer       TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    client       TEXT    NOT NULL,
    redirect_uri TEXT    NOT NULL,
    scope        TEXT    NOT NULL,
    resource     TEXT    NOT NULL,
    given        INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject, client, redirect_uri, resource, scope)
) STRICT, WITHOUT ROWID;
CREATE INDEX consents_client ON consents (client);
CREATE INDEX consents_given ON consents (given);

CREATE TABLE browsers (
    cookie       BLOB    NOT NULL PRIMARY KEY CHECK (length(cookie) = 32),
    issuer       TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    display_name TEXT    NOT NULL,
    provider     TEXT    NOT NULL,
    expires      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX browsers_user ON browsers (issuer, subject);
CREATE INDEX browsers_expires ON browsers (expires);

-- A removed credential leaves its version behind for a while, without key and bytes, so that
-- versions do not start over while somebody may still hold one.
CREATE TABLE credentials (
    provider      TEXT    NOT NULL,
    issuer        TEXT    NOT NULL,
    subject       TEXT    NOT NULL,
    version       INTEGER NOT NULL,
    key_id        TEXT,
    sealed        BLOB,
    stored        INTEGER NOT NULL,
    claimed_until INTEGER,
    removed       INTEGER, -- when a sweep first saw that it was removed
    PRIMARY KEY (provider, issuer, subject),
    CHECK ((key_id IS NULL) = (sealed IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX credentials_user ON credentials (issuer, subject);
CREATE INDEX credentials_key ON credentials (key_id) WHERE key_id IS NOT NULL;
CREATE INDEX credentials_removed ON credentials (removed) WHERE key_id IS NULL;

CREATE TABLE accounts (
    subject  TEXT    NOT NULL PRIMARY KEY,
    name     TEXT    NOT NULL UNIQUE,
    password TEXT    NOT NULL, -- a PHC string of argon2id
    created  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- There is one link or none.
CREATE TABLE setup_links (
    slot    INTEGER NOT NULL PRIMARY KEY CHECK (slot = 1),
    secret  BLOB    NOT NULL CHECK (length(secret) = 32),
    expires INTEGER NOT NULL
) STRICT;

-- Filled and emptied again, to see whether the disk takes anything.
CREATE TABLE probes (
    slot   INTEGER NOT NULL PRIMARY KEY CHECK (slot = 1),
    filler BLOB    NOT NULL
) STRICT;
