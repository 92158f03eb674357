-- The id that was announced for the body before, while the one that is served has
-- none yet: what the DNS shows by it is no news.

-- +goose Up
ALTER TABLE domains ADD COLUMN former_id TEXT NOT NULL DEFAULT '';
