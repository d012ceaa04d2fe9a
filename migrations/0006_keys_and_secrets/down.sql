-- Without API keys an idempotency key is unique: the first submission keeps it.
UPDATE executions e SET idempotency_key = NULL, idempotency_sha256 = NULL
WHERE EXISTS (SELECT FROM executions o WHERE o.idempotency_key = e.idempotency_key AND o.id < e.id);

DROP INDEX executions_idempotency;
CREATE UNIQUE INDEX executions_idempotency ON executions (idempotency_key) WHERE idempotency_key IS NOT NULL;

DROP INDEX executions_by_key;

ALTER TABLE executions
    DROP CONSTRAINT secrets_end_with_the_run,
    DROP COLUMN key_id,
    DROP COLUMN secrets,
    DROP COLUMN secret_names;

DROP TABLE api_keys;
