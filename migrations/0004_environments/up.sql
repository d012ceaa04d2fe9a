-- Environments: installed once for a set of requirements, and shared by all executions with the same ones.

-- A row is inserted after its installation is complete. The engine is the Docker host that has the volume; the key is a
-- digest of everything that determines the contents.
CREATE TABLE environments (
    engine       text NOT NULL,
    key          text NOT NULL CHECK (length(key) = 64),
    volume       text NOT NULL,
    size_bytes   bigint NOT NULL CHECK (size_bytes >= 0),
    -- Incremented by each use. A removal names the number that it has seen.
    uses         bigint NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (engine, key)
);

-- While an execution prepares its environment, its script has not started, so a lost worker costs no attempt.
ALTER TABLE executions ADD COLUMN installing boolean NOT NULL DEFAULT false;
