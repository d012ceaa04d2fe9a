-- Who goes first, and where: priorities, turns between keys, labels of workers.
--
-- A daemon of before this step goes on beside it: what it inserts gets its turn by the trigger, and its claims still
-- find `executions_queue`. It does not know `on_labels`, so nothing that names a label is taken in while one runs
-- (`labels` of its worker's row is NULL).

ALTER TABLE workers ADD COLUMN labels jsonb;

ALTER TABLE executions
    -- Labels that a worker must have to run it; compared as a whole, since a worker knows all that it fits.
    ADD COLUMN on_labels jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(on_labels) = 'object'),
    -- Higher ones go first.
    ADD COLUMN priority  smallint NOT NULL DEFAULT 0 CHECK (priority BETWEEN -100 AND 100),
    -- The round of the queue in which it is due: one of each key that waits is in each round. 0 is for what was claimed
    -- once and came back.
    ADD COLUMN turn      bigint NOT NULL DEFAULT 0 CHECK (turn >= 0);

-- The order of claims, for each set of labels; and the last turn of each key.
CREATE INDEX executions_turns ON executions (on_labels, (- priority), turn, created_at, id) WHERE status = 'queued';
CREATE INDEX executions_last_turns ON executions (on_labels, priority, coalesce(key_id, ''), turn)
    WHERE status = 'queued';

-- Behind the last one of its key; with none of its key in the queue it joins the round that is going on. Keys that
-- submit twice at the very same moment may get two places in one round.
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
