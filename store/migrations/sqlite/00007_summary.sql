-- What is counted at each look of the monitoring is counted in indexes alone.

-- +goose Up
-- A row of certificates has the chain in it, which nobody wants to read for
-- this. 00002 makes the index; some stores that development made were without.
CREATE INDEX IF NOT EXISTS certificates_validity ON certificates (host, not_before, not_after);
CREATE INDEX cert_jobs_problem ON cert_jobs (host) WHERE problem <> '';

-- Hosts that tried and failed come last, which the index has to know.
DROP INDEX cert_jobs_due;
CREATE INDEX cert_jobs_due ON cert_jobs (due, not_after, attempts, host) WHERE running = 0;
