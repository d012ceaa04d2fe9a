-- The images that RGrid has pulled, which it may remove. Other images are never listed here.
CREATE TABLE images (
    -- The Docker host, and the image's digest.
    engine       text NOT NULL,
    image        text NOT NULL,
    -- The name that it was pulled by.
    name         text NOT NULL,
    size_bytes   bigint NOT NULL CHECK (size_bytes >= 0),
    last_used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Given up to free disk space; its host removes it.
    retired_at   timestamptz,
    PRIMARY KEY (engine, image)
);

-- Output files that were not kept, with the reasons.
ALTER TABLE executions ADD COLUMN outputs_left_out jsonb;
