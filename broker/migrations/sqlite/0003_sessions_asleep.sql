-- Why a session fell asleep, as its broker told last; NULL while it is awake. For whoever lists
-- sessions: no decision depends on it.

ALTER TABLE sessions ADD COLUMN asleep TEXT;

-- Sessions asleep are counted by kind whenever somebody looks at the metrics: not by reading them all.
CREATE INDEX sessions_kind ON sessions (kind);
