-- Whether a worker's engine and firewall work, as the worker last reported. NULL: no problem.
ALTER TABLE workers
    ADD COLUMN engine_problem text,
    -- off, verified, unverified or failed. NULL for an older rgridd, which does not report it.
    ADD COLUMN firewall text,
    ADD COLUMN firewall_problem text;
