DROP INDEX executions_idempotency;

ALTER TABLE executions
    DROP CONSTRAINT idempotency_is_whole,
    DROP COLUMN idempotency_key,
    DROP COLUMN idempotency_sha256;
