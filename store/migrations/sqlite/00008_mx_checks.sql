-- What the watch over the MX hosts of the hosted domains saw last. Units as in
-- 00001_journal.sql; severities as in 00004_events.sql, 0 for none.

-- +goose Up
CREATE TABLE mx_checks (
    domain        TEXT    NOT NULL PRIMARY KEY, -- policy domain in A-labels
    at            INTEGER NOT NULL, -- time of the last look
    passed        INTEGER NOT NULL,
    unknown       INTEGER NOT NULL, -- it could not be told
    summary       TEXT    NOT NULL,
    attempts      INTEGER NOT NULL, -- looks in a row that did not pass
    severity      INTEGER NOT NULL, -- of what is wrong
    reason        TEXT    NOT NULL,
    remedy        TEXT    NOT NULL,
    faults        TEXT    NOT NULL, -- JSON array of state.MXFault; '' for none
    told_kind     TEXT    NOT NULL, -- of the last event; '' for none
    told_at       INTEGER NOT NULL,
    told_severity INTEGER NOT NULL,
    told_reason   TEXT    NOT NULL,
    told_held     INTEGER NOT NULL  -- its end is told late
) STRICT;
