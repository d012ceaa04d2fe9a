-- A repeated submission with the same key returns the first one.

ALTER TABLE executions
    ADD COLUMN idempotency_key    text CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    ADD COLUMN idempotency_sha256 bytea,
    ADD CONSTRAINT idempotency_is_whole CHECK ((idempotency_key IS NULL) = (idempotency_sha256 IS NULL));

CREATE UNIQUE INDEX executions_idempotency ON executions (idempotency_key) WHERE idempotency_key IS NOT NULL;
