-- Who may ask, and what only lives as long as a run.

-- The key itself is shown once; what is kept of it tells whether it is right, not what it is.
CREATE TABLE api_keys (
    id            text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[0-9a-z]{12}$'),
    name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    secret_sha256 bytea NOT NULL CHECK (length(secret_sha256) = 32),
    scopes        text[] NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'run', 'admin']),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    revoked_at    timestamptz,
    -- To the minute, so that using a key is not a write each time.
    last_used_at  timestamptz
);

ALTER TABLE executions
    -- Whose it is; NULL when it was submitted without a key.
    ADD COLUMN key_id       text COLLATE "C" REFERENCES api_keys (id),
    ADD COLUMN secrets      jsonb,
    -- Their names stay, so that a retry can ask for their values.
    ADD COLUMN secret_names jsonb NOT NULL DEFAULT '[]',
    -- Whatever statement ends a run, it has to remove them.
    ADD CONSTRAINT secrets_end_with_the_run CHECK (secrets IS NULL OR status IN ('queued', 'running'));

CREATE INDEX executions_by_key ON executions (key_id, id) WHERE key_id IS NOT NULL;

-- Two keys may use the same word.
DROP INDEX executions_idempotency;
CREATE UNIQUE INDEX executions_idempotency ON executions (coalesce(key_id, ''), idempotency_key)
    WHERE idempotency_key IS NOT NULL;
