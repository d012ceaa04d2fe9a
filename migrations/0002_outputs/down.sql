DROP TABLE output_chunks;

ALTER TABLE executions
    DROP COLUMN stdout,
    DROP COLUMN stderr,
    DROP COLUMN install_output,
    DROP COLUMN stdout_bytes,
    DROP COLUMN stderr_bytes,
    DROP COLUMN output_truncated,
    DROP COLUMN cpu_ms,
    DROP COLUMN peak_memory_bytes;
