-- Certificates, the queue that issues them, and what the ACME engine keeps.
-- Units as in 00001_journal.sql.

-- +goose Up
CREATE TABLE certificates (
    host       TEXT    NOT NULL PRIMARY KEY,
    not_before INTEGER NOT NULL, -- time
    not_after  INTEGER NOT NULL, -- time
    pem        BLOB    NOT NULL  -- private key, then the chain, leaf first
) STRICT;

-- The expiries of all certificates are read without touching the keys.
CREATE INDEX certificates_validity ON certificates (host, not_before, not_after);

CREATE TABLE cert_jobs (
    host         TEXT    NOT NULL PRIMARY KEY,
    due          INTEGER NOT NULL, -- time
    not_after    INTEGER NOT NULL, -- time; 0: there is no certificate yet
    attempts     INTEGER NOT NULL,
    challenge    TEXT    NOT NULL,
    problem      TEXT    NOT NULL,
    last_attempt INTEGER NOT NULL, -- time
    running      INTEGER NOT NULL
) STRICT;

-- Nearly every host has a renewal that waits for a day far ahead, and the
-- scheduler asks often: it must meet only the jobs that are due. With
-- not_after and host in the index their order is found without the rows.
CREATE INDEX cert_jobs_due ON cert_jobs (due, not_after, host) WHERE running = 0;

-- Account keys and whatever else the ACME engine caches, by its own keys.
CREATE TABLE acme_data (
    name TEXT NOT NULL PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

-- One row for each order debited from an account's budget (RFC 8555 §6.6 lets
-- a CA limit their rate); rows older than the window are pruned.
CREATE TABLE orders (
    id      INTEGER PRIMARY KEY,
    account TEXT    NOT NULL,
    at      INTEGER NOT NULL -- time
) STRICT;

CREATE INDEX orders_account ON orders (account, at);
