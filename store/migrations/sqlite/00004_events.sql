-- What happened, as it is told to people. Units as in 00001_journal.sql.

-- +goose Up
CREATE TABLE events (
    -- AUTOINCREMENT: an id never comes a second time, even when the newest
    -- event is gone, so that whoever has read up to an id misses nothing.
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL, -- time
    kind     TEXT    NOT NULL,
    severity INTEGER NOT NULL, -- 1 info, 2 warning, 3 critical
    domain   TEXT    NOT NULL, -- '' where it is about none
    host     TEXT    NOT NULL, -- '' where it is about none
    text     TEXT    NOT NULL,
    remedy   TEXT    NOT NULL,
    evidence TEXT    NOT NULL  -- JSON object of strings; '' for none
) STRICT;

-- SQLite puts the id behind the columns of each.
CREATE INDEX events_domain ON events (domain);
CREATE INDEX events_host ON events (host) WHERE host <> '';
CREATE INDEX events_kind ON events (kind);
CREATE INDEX events_notable ON events (id) WHERE severity > 1;
CREATE INDEX events_at ON events (at);
