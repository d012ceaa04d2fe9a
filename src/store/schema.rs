//! The tables as diesel sees them: the columns that its query builder is asked for. What only the
//! queue's own statements touch (leases, owners, limits) is left out.

diesel::table! {
    executions (id) {
        id -> Text,
        status -> Text,
        runtime -> Text,
        script_name -> Text,
        args -> Jsonb,
        env -> Jsonb,
        labels -> Jsonb,
        timeout_ms -> BigInt,
        max_attempts -> Integer,
        attempt -> Integer,
        worker_name -> Nullable<Text>,
        created_at -> Timestamptz,
        started_at -> Nullable<Timestamptz>,
        completed_at -> Nullable<Timestamptz>,
        exit_code -> Nullable<Integer>,
        failure_kind -> Nullable<Text>,
        execution_error -> Nullable<Text>,
        stdout -> Text,
        stderr -> Text,
        install_output -> Text,
        stdout_bytes -> BigInt,
        stderr_bytes -> BigInt,
        output_truncated -> Bool,
        cpu_ms -> Nullable<BigInt>,
        peak_memory_bytes -> Nullable<BigInt>,
        idempotency_key -> Nullable<Text>,
        idempotency_sha256 -> Nullable<Binary>,
        key_id -> Nullable<Text>,
        secret_names -> Jsonb,
    }
}

diesel::table! {
    blobs (sha256) {
        sha256 -> Binary,
        content -> Binary,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    execution_files (execution_id, role, name) {
        execution_id -> Text,
        role -> Text,
        name -> Text,
        size -> BigInt,
        sha256 -> Binary,
    }
}

diesel::table! {
    output_chunks (execution_id, attempt, seq) {
        execution_id -> Text,
        attempt -> Integer,
        seq -> BigInt,
        stream -> Text,
        text -> Text,
    }
}

diesel::table! {
    api_keys (id) {
        id -> Text,
        name -> Text,
        secret_sha256 -> Binary,
        scopes -> Array<Text>,
        created_at -> Timestamptz,
        expires_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
        last_used_at -> Nullable<Timestamptz>,
    }
}

diesel::joinable!(execution_files -> executions (execution_id));
diesel::joinable!(execution_files -> blobs (sha256));
diesel::allow_tables_to_appear_in_same_query!(executions, execution_files, blobs, output_chunks);
