-- What people who follow, operate and clean up need: how long each phase took, where long output was cut,
-- when an execution ended, and whom to tell of it.

ALTER TABLE executions
    ADD COLUMN environment_ms bigint CHECK (environment_ms >= 0),
    ADD COLUMN sandbox_ms     bigint CHECK (sandbox_ms >= 0),
    ADD COLUMN script_ms      bigint CHECK (script_ms >= 0),
    -- The attempt whose script has begun, so that a follower can tell an install from a silent script.
    -- Written a moment after the begin: a short run never needs it.
    ADD COLUMN script_attempt integer,
    -- Content id of the image that it ran in.
    ADD COLUMN image          text,
    -- Of each stream that was cut: bytes kept of its beginning and of its end, and bytes in all.
    ADD COLUMN output_cuts    jsonb,
    -- Its output and files were removed by the retention's rules.
    ADD COLUMN pruned_at      timestamptz,
    ADD COLUMN webhook_url    text;

CREATE INDEX executions_completed ON executions (completed_at) WHERE completed_at IS NOT NULL;

-- Whom to tell that an execution has ended. A row goes away when it was taken, or given up.
CREATE TABLE webhooks (
    execution_id text COLLATE "C" PRIMARY KEY REFERENCES executions (id) ON DELETE CASCADE,
    url          text NOT NULL,
    tries        integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
    next_try     timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_error   text
);
CREATE INDEX webhooks_next ON webhooks (next_try);

-- Whatever statement ends an execution: its webhook is due in the same transaction, so no crash loses one.
CREATE FUNCTION webhook_is_due() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO webhooks (execution_id, url) VALUES (NEW.id, NEW.webhook_url);
    RETURN NULL;
END $$;
CREATE TRIGGER webhook_is_due AFTER UPDATE OF status ON executions FOR EACH ROW
    WHEN (NEW.webhook_url IS NOT NULL AND OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL)
    EXECUTE FUNCTION webhook_is_due();
