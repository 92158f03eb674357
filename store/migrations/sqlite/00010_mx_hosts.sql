-- Which MX hosts have passed, and which the policy does not name.

-- +goose Up
ALTER TABLE mx_checks ADD COLUMN hosts TEXT NOT NULL DEFAULT ''; -- JSON array of state.MXHostSeen; '' for none
ALTER TABLE mx_checks ADD COLUMN drift TEXT NOT NULL DEFAULT ''; -- JSON object of state.MXDrift; '' for none
