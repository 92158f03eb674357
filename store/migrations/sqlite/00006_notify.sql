-- What each target of notifications has been told, and how far in the events
-- it has come. The form of the data is package notify's.

-- +goose Up
CREATE TABLE notify_state (
    target TEXT NOT NULL PRIMARY KEY, -- NAME of [notify.NAME]
    data   BLOB NOT NULL
) STRICT;
