-- What the watch over the MX hosts of the hosted domains saw last. Units as in
-- 00001_journal.sql.

-- +goose Up
CREATE TABLE mx_checks (
    domain   TEXT    NOT NULL PRIMARY KEY, -- policy domain in A-labels
    at       INTEGER NOT NULL, -- time of the last look
    passed   INTEGER NOT NULL,
    unknown  INTEGER NOT NULL, -- it could not be told
    summary  TEXT    NOT NULL,
    findings TEXT    NOT NULL, -- JSON array of those that are no pass; '' for none
    attempts INTEGER NOT NULL, -- looks in a row that did not pass
    severity INTEGER NOT NULL, -- of the trouble that was told and is not over, as in events; 0: there is none
    reason   TEXT    NOT NULL, -- of that trouble
    remedy   TEXT    NOT NULL  -- of that trouble
) STRICT;
