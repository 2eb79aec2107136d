-- The records of sessions, from which a session is woken after a restart. The key is the SHA-256 of
-- the session's id; the id itself is never kept. Times are microseconds since 1970.

CREATE TABLE sessions (
    key      BLOB    NOT NULL PRIMARY KEY CHECK (length(key) = 32),
    issuer   TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    client   TEXT    NOT NULL,
    family   TEXT, -- the grant it was opened with, when there was one
    kind     TEXT    NOT NULL,
    created  INTEGER NOT NULL,
    active   INTEGER NOT NULL,
    snapshot BLOB    NOT NULL -- the last column: what reads the others does not walk its pages
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_owner ON sessions (issuer, subject, client, active);
CREATE INDEX sessions_client ON sessions (client);
CREATE INDEX sessions_family ON sessions (family) WHERE family IS NOT NULL;
CREATE INDEX sessions_active ON sessions (active);
