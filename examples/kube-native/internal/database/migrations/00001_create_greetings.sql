-- +goose Up
CREATE TABLE greetings (
    language text PRIMARY KEY CHECK (language <> ''),
    words    text NOT NULL    CHECK (words <> '')
);

-- +goose Down
DROP TABLE greetings;
