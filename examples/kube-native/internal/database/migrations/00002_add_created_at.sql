-- Additive: the version before this one neither reads nor writes the column, so both can serve during a rollout.
-- +goose Up
ALTER TABLE greetings ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();

-- +goose Down
ALTER TABLE greetings DROP COLUMN created_at;
