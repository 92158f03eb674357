-- What is counted at each look of the monitoring is counted in indexes alone.

-- +goose Up
-- A row of certificates has the chain in it, which nobody wants to read for this.
CREATE INDEX certificates_validity ON certificates (host, not_before, not_after);
CREATE INDEX cert_jobs_problem ON cert_jobs (host) WHERE problem <> '';
