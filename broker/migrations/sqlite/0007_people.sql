-- What the operator and the identity providers say of people. Times are whole seconds since 1970.

-- Those whom the operator blocked.
CREATE TABLE blocked_people (
    issuer  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    since   INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;

-- What a provider said of a person last, as far as rules of admission ask for it: JSON.
CREATE TABLE person_facts (
    issuer  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    facts   TEXT    NOT NULL,
    learnt  INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX person_facts_learnt ON person_facts (learnt);

-- Whom a login in a rule stands for: the first person who came with it. Logins change hands.
CREATE TABLE rule_logins (
    issuer  TEXT NOT NULL,
    login   TEXT NOT NULL, -- in lower case
    subject TEXT NOT NULL,
    PRIMARY KEY (issuer, login)
) STRICT, WITHOUT ROWID;
CREATE INDEX rule_logins_subject ON rule_logins (issuer, subject);
