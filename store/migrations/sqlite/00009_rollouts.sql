-- How managed domains are taken along their stages. Units as in
-- 00001_journal.sql.

-- +goose Up
CREATE TABLE rollouts (
    domain         TEXT    NOT NULL PRIMARY KEY, -- policy domain in A-labels
    stage          TEXT    NOT NULL,
    max_age        INTEGER NOT NULL, -- seconds; 0: as the config says
    entered        INTEGER NOT NULL, -- time
    confirmed      INTEGER NOT NULL, -- time; 0: not yet
    goal           TEXT    NOT NULL, -- '' where it stays
    paused         INTEGER NOT NULL,
    hasty          INTEGER NOT NULL, -- waiting times are skipped
    no_reports     INTEGER NOT NULL, -- that there are none was accepted
    waivers        TEXT    NOT NULL, -- JSON array of state.Waiver; '' for none
    evidence       TEXT    NOT NULL, -- JSON object of state.Evidence; '' for none
    mx             TEXT    NOT NULL, -- JSON array of hosts; '' for none
    left_config    INTEGER NOT NULL,
    target_account TEXT    NOT NULL, -- '' while the config names the domain, as those below
    target_zone    TEXT    NOT NULL,
    target_name    TEXT    NOT NULL,
    target_ttl     INTEGER NOT NULL, -- seconds
    back           TEXT    NOT NULL, -- JSON object: stage, goal, and max_age in seconds; '' for none
    held           TEXT    NOT NULL  -- '' where nothing holds it up
) STRICT;
