-- The images that RGrid has pulled itself: what it may remove again. Images that were there before, or that others
-- brought, never stand here.
CREATE TABLE images (
    -- The Docker host that has it, and its content's digest.
    engine       text NOT NULL,
    image        text NOT NULL,
    -- What it was pulled by.
    name         text NOT NULL,
    size_bytes   bigint NOT NULL CHECK (size_bytes >= 0),
    last_used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Given up to make room: its host removes it.
    retired_at   timestamptz,
    PRIMARY KEY (engine, image)
);

-- What of its files was not kept, and why: sentences.
ALTER TABLE executions ADD COLUMN outputs_left_out jsonb;
