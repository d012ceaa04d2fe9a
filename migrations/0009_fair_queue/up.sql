-- The order of the queue: priorities, turns between keys, labels of workers.
--
-- A daemon of an older version may run at the same time: the trigger sets the turns of its executions, and its claims
-- use `executions_queue`. It does not know `on_labels`, so submissions with labels are refused while its worker runs
-- (`workers.labels` is NULL).

ALTER TABLE workers ADD COLUMN labels jsonb;

ALTER TABLE executions
    -- Labels that a worker must have. Compared as a whole: a worker lists all label sets that it satisfies.
    ADD COLUMN on_labels jsonb NOT NULL DEFAULT '{}',
    -- Higher priorities go first.
    ADD COLUMN priority  smallint NOT NULL DEFAULT 0,
    -- The round of the queue: each round has one execution of each waiting key. 0 means that it was claimed before and
    -- came back.
    ADD COLUMN turn      bigint NOT NULL DEFAULT 0,
    -- Not validated: existing rows have the defaults, and a scan would hold the lock.
    ADD CONSTRAINT on_is_an_object CHECK (jsonb_typeof(on_labels) = 'object') NOT VALID,
    ADD CONSTRAINT priority_has_bounds CHECK (priority BETWEEN -100 AND 100) NOT VALID,
    ADD CONSTRAINT turns_count_up CHECK (turn >= 0) NOT VALID;

-- The order of claims for each label set, and the last turn of each key.
CREATE INDEX executions_turns ON executions (on_labels, (- priority), turn, created_at, id) WHERE status = 'queued';
CREATE INDEX executions_last_turns ON executions (on_labels, priority, coalesce(key_id, ''), turn)
    WHERE status = 'queued';

-- After the last execution of its key; without one in the queue, in the current round. A key with two concurrent
-- submissions may get two places in one round.
CREATE FUNCTION take_a_turn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.turn := greatest(1,
        (SELECT turn + 1 FROM executions
         WHERE status = 'queued' AND on_labels = NEW.on_labels AND priority = NEW.priority
             AND coalesce(key_id, '') = coalesce(NEW.key_id, '')
         ORDER BY turn DESC LIMIT 1),
        (SELECT turn FROM executions
         WHERE status = 'queued' AND on_labels = NEW.on_labels AND - priority = - NEW.priority AND turn > 0
         ORDER BY turn LIMIT 1));
    RETURN NEW;
END $$;
CREATE TRIGGER take_a_turn BEFORE INSERT ON executions FOR EACH ROW
    WHEN (NEW.status = 'queued') EXECUTE FUNCTION take_a_turn();
