-- How many sessions there are of each kind, so that whoever looks at the metrics has no record read.
-- Triggers keep it, since several processes create and remove sessions.

CREATE TABLE session_kinds (
    kind TEXT    NOT NULL PRIMARY KEY,
    many INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO session_kinds (kind, many) SELECT kind, COUNT(*) FROM sessions GROUP BY kind;

CREATE TRIGGER sessions_counted AFTER INSERT ON sessions BEGIN
    INSERT INTO session_kinds (kind, many) VALUES (NEW.kind, 1)
        ON CONFLICT (kind) DO UPDATE SET many = many + 1;
END;

CREATE TRIGGER sessions_uncounted AFTER DELETE ON sessions BEGIN
    UPDATE session_kinds SET many = many - 1 WHERE kind = OLD.kind;
    DELETE FROM session_kinds WHERE kind = OLD.kind AND many <= 0;
END;

DROP INDEX sessions_kind;
