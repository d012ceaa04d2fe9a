-- Executions that wait for labels would run on any worker, so they fail with a reason.
UPDATE executions SET status = 'failed', completed_at = clock_timestamp(), secrets = NULL, failure_kind = 'internal',
    execution_error = 'the server went back to a version that knows no labels of workers (it waited for '
        || on_labels::text || '); submit it again'
WHERE status = 'queued' AND on_labels <> '{}';

DROP TRIGGER take_a_turn ON executions;
DROP FUNCTION take_a_turn;
DROP INDEX executions_turns, executions_last_turns;
ALTER TABLE executions DROP COLUMN on_labels, DROP COLUMN priority, DROP COLUMN turn;
ALTER TABLE workers DROP COLUMN labels;
