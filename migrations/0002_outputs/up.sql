-- What a run says: in columns of its row when it has ended, in chunks while it runs.

ALTER TABLE executions
    ADD COLUMN stdout            text NOT NULL DEFAULT '',
    ADD COLUMN stderr            text NOT NULL DEFAULT '',
    ADD COLUMN install_output    text NOT NULL DEFAULT '',
    -- Bytes of text that were written in all, also of what was cut.
    ADD COLUMN stdout_bytes      bigint NOT NULL DEFAULT 0 CHECK (stdout_bytes >= 0),
    ADD COLUMN stderr_bytes      bigint NOT NULL DEFAULT 0 CHECK (stderr_bytes >= 0),
    ADD COLUMN output_truncated  boolean NOT NULL DEFAULT false,
    ADD COLUMN cpu_ms            bigint,
    ADD COLUMN peak_memory_bytes bigint;

-- What a long run has said so far, so that any replica can show it. The transaction that ends the
-- run folds them into the row and deletes them.
CREATE TABLE output_chunks (
    execution_id text COLLATE "C" NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    attempt      integer NOT NULL,
    -- Number of the init's event; resuming goes on behind the highest one.
    seq          bigint NOT NULL CHECK (seq > 0),
    stream       text NOT NULL CHECK (stream IN ('stdout', 'stderr', 'install')),
    text         text NOT NULL,
    PRIMARY KEY (execution_id, attempt, seq)
);
