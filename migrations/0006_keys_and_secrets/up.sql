-- API keys, and secrets, which are deleted when an execution ends.

-- A key is shown once; only its hash is stored.
CREATE TABLE api_keys (
    id            text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[0-9a-z]{12}$'),
    name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    secret_sha256 bytea NOT NULL CHECK (length(secret_sha256) = 32),
    scopes        text[] NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'run', 'admin']),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    revoked_at    timestamptz,
    -- To the minute, so that not every request writes.
    last_used_at  timestamptz
);

ALTER TABLE executions
    -- The key that submitted it; NULL without a key.
    ADD COLUMN key_id       text COLLATE "C" REFERENCES api_keys (id),
    ADD COLUMN secrets      jsonb,
    -- The names stay, so that a retry can ask for the values.
    ADD COLUMN secret_names jsonb NOT NULL DEFAULT '[]',
    -- Every statement that ends an execution must delete them.
    ADD CONSTRAINT secrets_end_with_the_run CHECK (secrets IS NULL OR status IN ('queued', 'running'));

CREATE INDEX executions_by_key ON executions (key_id, id) WHERE key_id IS NOT NULL;

-- Idempotency keys are separate for each API key.
DROP INDEX executions_idempotency;
CREATE UNIQUE INDEX executions_idempotency ON executions (coalesce(key_id, ''), idempotency_key)
    WHERE idempotency_key IS NOT NULL;
