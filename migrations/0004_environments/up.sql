-- What is installed once for a script's requirements, and used by every run that needs the same.

-- A volume that stands here is whole: it is written down after the last byte of it. The engine is the
-- Docker host that has the volume; the key is a digest of everything that decides what is in it.
CREATE TABLE environments (
    engine       text NOT NULL,
    key          text NOT NULL CHECK (length(key) = 64),
    volume       text NOT NULL,
    size_bytes   bigint NOT NULL CHECK (size_bytes >= 0),
    -- One more with each use: whoever wants to remove it names the number it has seen.
    uses         bigint NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (engine, key)
);

-- A run that installs, or waits for an install, has not started its script: a worker that is lost over
-- that costs no attempt.
ALTER TABLE executions ADD COLUMN installing boolean NOT NULL DEFAULT false;
