-- Where a sign-in came from: an IPv4 address, or the /48 of an IPv6 address. When too many are under way, it
-- decides which of them go. Those that were under way before have none.

ALTER TABLE sign_ins ADD COLUMN peer TEXT NOT NULL DEFAULT '::';
