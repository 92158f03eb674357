-- Which CA a certificate is from, and when that CA wants it renewed (RFC 9773).
-- Units as in 00001_journal.sql.

-- +goose Up
ALTER TABLE cert_jobs ADD COLUMN ca TEXT NOT NULL DEFAULT '';              -- directory URL; '' not known
ALTER TABLE cert_jobs ADD COLUMN ask_at INTEGER NOT NULL DEFAULT 0;       -- time; 0: as soon as can be
ALTER TABLE cert_jobs ADD COLUMN window_start INTEGER NOT NULL DEFAULT 0; -- time; 0: none suggested
ALTER TABLE cert_jobs ADD COLUMN window_end INTEGER NOT NULL DEFAULT 0;   -- time; 0: none suggested
ALTER TABLE cert_jobs ADD COLUMN explanation TEXT NOT NULL DEFAULT '';    -- URL or ''

-- Whose CA is to be asked next.
CREATE INDEX cert_jobs_ask ON cert_jobs (ask_at, host) WHERE running = 0 AND not_after > 0;

-- Renewals that a CA has suggested; they are not held up by the budget.
CREATE INDEX cert_jobs_suggested ON cert_jobs (ca, due) WHERE running = 0 AND window_end > 0;
