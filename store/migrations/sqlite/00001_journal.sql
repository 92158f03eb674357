-- The journal of the policy domains and the ledger of the bodies they served.
--
-- In every table: a time is an integer of microseconds since 1970-01-01 UTC,
-- and 0 means "not set"; a duration is an integer of seconds, as max_age is in
-- a policy (RFC 8461 §3.2); a truth value is 0 or 1.

-- +goose Up
CREATE TABLE domains (
    name           TEXT    NOT NULL PRIMARY KEY, -- policy domain in A-labels
    step           TEXT    NOT NULL,
    since          INTEGER NOT NULL,             -- time
    mode           TEXT    NOT NULL,             -- '' until the first body was decided
    max_age        INTEGER NOT NULL,             -- seconds; 0: as the config says
    config_max_age INTEGER NOT NULL,             -- seconds
    adopted        INTEGER NOT NULL,
    body_sha256    TEXT    NOT NULL,             -- '' before the first body
    record_id      TEXT    NOT NULL,             -- '' until made
    proof          TEXT    NOT NULL,
    last_error     TEXT    NOT NULL,
    remedy         TEXT    NOT NULL,
    attempts       INTEGER NOT NULL,
    last_run       INTEGER NOT NULL,             -- time
    next_run       INTEGER NOT NULL              -- time
) STRICT, WITHOUT ROWID;

CREATE TABLE bodies (
    domain       TEXT    NOT NULL,
    sha256       TEXT    NOT NULL, -- lower-case hex of body
    mode         TEXT    NOT NULL,
    max_age      INTEGER NOT NULL, -- seconds
    first_served INTEGER NOT NULL, -- time
    last_served  INTEGER NOT NULL, -- time; 0 while it is served
    adopted      INTEGER NOT NULL,
    body         BLOB    NOT NULL,
    PRIMARY KEY (domain, sha256)
) STRICT;

-- A domain serves one body at a time; the database itself holds to that.
-- The same index finds all bodies that are served when the server starts.
CREATE UNIQUE INDEX bodies_served ON bodies (domain) WHERE last_served = 0;
