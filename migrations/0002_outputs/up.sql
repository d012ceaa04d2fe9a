-- Output: in the row of an execution that has ended, in chunks while it runs.

ALTER TABLE executions
    ADD COLUMN stdout            text NOT NULL DEFAULT '',
    ADD COLUMN stderr            text NOT NULL DEFAULT '',
    ADD COLUMN install_output    text NOT NULL DEFAULT '',
    -- Length of the whole stream, including what was truncated.
    ADD COLUMN stdout_bytes      bigint NOT NULL DEFAULT 0 CHECK (stdout_bytes >= 0),
    ADD COLUMN stderr_bytes      bigint NOT NULL DEFAULT 0 CHECK (stderr_bytes >= 0),
    ADD COLUMN output_truncated  boolean NOT NULL DEFAULT false,
    ADD COLUMN cpu_ms            bigint,
    ADD COLUMN peak_memory_bytes bigint;

-- The output of running executions, so that any replica can show it. The transaction that ends the execution folds it
-- into the row and deletes the chunks.
CREATE TABLE output_chunks (
    execution_id text COLLATE "C" NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    attempt      integer NOT NULL,
    -- The number of the init's event; a resumed attempt continues after the highest one.
    seq          bigint NOT NULL CHECK (seq > 0),
    stream       text NOT NULL CHECK (stream IN ('stdout', 'stderr', 'install')),
    text         text NOT NULL,
    PRIMARY KEY (execution_id, attempt, seq)
);
