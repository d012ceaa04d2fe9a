DROP TRIGGER webhook_is_due ON executions;
DROP FUNCTION webhook_is_due();
DROP TABLE webhooks;
DROP INDEX executions_completed;

ALTER TABLE executions
    DROP COLUMN environment_ms,
    DROP COLUMN sandbox_ms,
    DROP COLUMN script_ms,
    DROP COLUMN script_attempt,
    DROP COLUMN image,
    DROP COLUMN output_cuts,
    DROP COLUMN pruned_at,
    DROP COLUMN webhook_url;
