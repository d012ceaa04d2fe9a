-- The queue and the files of submissions.

-- One row: the id of the deployment. Containers have it as a label, so that two deployments on one Docker host do not
-- touch each other's sandboxes.
CREATE TABLE deployment (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    cluster  uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO deployment DEFAULT VALUES;

CREATE TABLE workers (
    id         text PRIMARY KEY,
    name       text NOT NULL,
    slots      integer NOT NULL CHECK (slots > 0),
    started_at timestamptz NOT NULL DEFAULT now(),
    last_seen  timestamptz NOT NULL DEFAULT now(),
    draining   boolean NOT NULL DEFAULT false,
    stopped_at timestamptz
);

CREATE TABLE executions (
    -- Compared byte by byte, so that the index serves look-ups by prefix.
    id               text COLLATE "C" PRIMARY KEY CHECK (id LIKE 'exec\_%'),
    status           text NOT NULL DEFAULT 'queued'
                     CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    runtime          text NOT NULL,
    script_name      text NOT NULL,
    args             jsonb NOT NULL DEFAULT '[]',
    env              jsonb NOT NULL DEFAULT '{}',
    labels           jsonb NOT NULL DEFAULT '{}',
    requirements     text,
    timeout_ms       bigint NOT NULL CHECK (timeout_ms > 0),
    memory_bytes     bigint NOT NULL CHECK (memory_bytes > 0),
    cpus_milli       integer NOT NULL CHECK (cpus_milli > 0),
    network          boolean NOT NULL DEFAULT true,
    max_attempts     integer NOT NULL CHECK (max_attempts > 0),
    -- The fencing token: incremented by each claim, never reused.
    attempt          integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    -- Attempts that were released unfinished; they do not count against max_attempts.
    released         integer NOT NULL DEFAULT 0 CHECK (released >= 0),
    worker_id        text,
    worker_name      text,
    lease_until      timestamptz,
    cancel_requested boolean NOT NULL DEFAULT false,
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    completed_at     timestamptz,
    exit_code        integer,
    failure_kind     text CHECK (failure_kind IN ('exit', 'timeout', 'out_of_memory', 'install', 'image',
                                                  'output', 'lost', 'internal')),
    execution_error  text,

    CONSTRAINT attempts_within_the_rule CHECK (attempt - released BETWEEN 0 AND max_attempts),
    CONSTRAINT queued_has_not_started CHECK (status <> 'queued'
        OR (started_at IS NULL AND completed_at IS NULL AND worker_id IS NULL AND lease_until IS NULL)),
    CONSTRAINT running_is_owned CHECK (status <> 'running'
        OR (worker_id IS NOT NULL AND lease_until IS NOT NULL AND started_at IS NOT NULL
            AND completed_at IS NULL AND attempt > 0)),
    CONSTRAINT ended_has_a_time CHECK (status IN ('queued', 'running') = (completed_at IS NULL)),
    CONSTRAINT ended_holds_no_lease CHECK (status = 'running' OR lease_until IS NULL),
    CONSTRAINT completed_means_zero CHECK (status <> 'completed' OR exit_code IS NOT DISTINCT FROM 0),
    CONSTRAINT failed_says_why CHECK ((status = 'failed') = (failure_kind IS NOT NULL)
        AND (failure_kind IS NULL) = (execution_error IS NULL))
);

-- Queued executions in order, and running ones by lease. Both stay small however many rows have ended.
CREATE INDEX executions_queue ON executions (created_at, id) WHERE status = 'queued';
CREATE INDEX executions_leases ON executions (lease_until) WHERE status = 'running';

-- The contents of files, each stored once.
CREATE TABLE blobs (
    sha256     bytea PRIMARY KEY CHECK (length(sha256) = 32),
    content    bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE execution_files (
    execution_id text COLLATE "C" NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    role         text NOT NULL CHECK (role IN ('script', 'input', 'output')),
    name         text NOT NULL,
    size         bigint NOT NULL CHECK (size >= 0),
    sha256       bytea NOT NULL REFERENCES blobs (sha256),
    PRIMARY KEY (execution_id, role, name)
);
CREATE INDEX execution_files_blob ON execution_files (sha256);
