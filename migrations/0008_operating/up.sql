-- Durations of the phases, truncation of output, retention, and webhooks.

ALTER TABLE executions
    ADD COLUMN environment_ms bigint CHECK (environment_ms >= 0),
    ADD COLUMN sandbox_ms     bigint CHECK (sandbox_ms >= 0),
    ADD COLUMN script_ms      bigint CHECK (script_ms >= 0),
    -- The attempt whose script has started, so that followers can distinguish an installation from a silent script.
    -- Written shortly after the start, so short scripts never write it.
    ADD COLUMN script_attempt integer,
    -- The digest of its image.
    ADD COLUMN image          text,
    -- For each truncated stream: bytes kept from the beginning and from the end, and bytes in total.
    ADD COLUMN output_cuts    jsonb,
    -- When retention removed its output and files.
    ADD COLUMN pruned_at      timestamptz,
    ADD COLUMN webhook_url    text;

CREATE INDEX executions_completed ON executions (completed_at) WHERE completed_at IS NOT NULL;

-- Webhooks that are due. A row is deleted after the delivery, or when it is given up.
CREATE TABLE webhooks (
    execution_id text COLLATE "C" PRIMARY KEY REFERENCES executions (id) ON DELETE CASCADE,
    url          text NOT NULL,
    tries        integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
    next_try     timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_error   text
);
CREATE INDEX webhooks_next ON webhooks (next_try);

-- The webhook is due in the transaction that ends the execution, so no crash loses one.
CREATE FUNCTION webhook_is_due() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO webhooks (execution_id, url) VALUES (NEW.id, NEW.webhook_url);
    RETURN NULL;
END $$;
CREATE TRIGGER webhook_is_due AFTER UPDATE OF status ON executions FOR EACH ROW
    WHEN (NEW.webhook_url IS NOT NULL AND OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL)
    EXECUTE FUNCTION webhook_is_due();
