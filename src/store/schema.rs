//! The tables. `operations::migrations` compares this file with a migrated database.

diesel::table! {
    executions (id) {
        id -> Text,
        status -> Text,
        runtime -> Text,
        script_name -> Text,
        args -> Jsonb,
        env -> Jsonb,
        labels -> Jsonb,
        requirements -> Nullable<Text>,
        timeout_ms -> BigInt,
        memory_bytes -> BigInt,
        cpus_milli -> Integer,
        network -> Bool,
        max_attempts -> Integer,
        attempt -> Integer,
        released -> Integer,
        worker_id -> Nullable<Text>,
        worker_name -> Nullable<Text>,
        lease_until -> Nullable<Timestamptz>,
        cancel_requested -> Bool,
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
        installing -> Bool,
        key_id -> Nullable<Text>,
        secrets -> Nullable<Jsonb>,
        secret_names -> Jsonb,
        environment_ms -> Nullable<BigInt>,
        sandbox_ms -> Nullable<BigInt>,
        script_ms -> Nullable<BigInt>,
        script_attempt -> Nullable<Integer>,
        image -> Nullable<Text>,
        output_cuts -> Nullable<Jsonb>,
        pruned_at -> Nullable<Timestamptz>,
        webhook_url -> Nullable<Text>,
        on_labels -> Jsonb,
        priority -> SmallInt,
        turn -> BigInt,
        outputs_left_out -> Nullable<Jsonb>,
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
    blobs (sha256) {
        sha256 -> Binary,
        content -> Binary,
        created_at -> Timestamptz,
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
    webhooks (execution_id) {
        execution_id -> Text,
        url -> Text,
        tries -> Integer,
        next_try -> Timestamptz,
        last_error -> Nullable<Text>,
    }
}

diesel::table! {
    workers (id) {
        id -> Text,
        name -> Text,
        slots -> Integer,
        started_at -> Timestamptz,
        last_seen -> Timestamptz,
        draining -> Bool,
        stopped_at -> Nullable<Timestamptz>,
        labels -> Nullable<Jsonb>,
        engine_problem -> Nullable<Text>,
        firewall -> Nullable<Text>,
        firewall_problem -> Nullable<Text>,
    }
}

diesel::table! {
    environments (engine, key) {
        engine -> Text,
        key -> Text,
        volume -> Text,
        size_bytes -> BigInt,
        uses -> BigInt,
        created_at -> Timestamptz,
        last_used_at -> Timestamptz,
    }
}

diesel::table! {
    images (engine, image) {
        engine -> Text,
        image -> Text,
        name -> Text,
        size_bytes -> BigInt,
        last_used_at -> Timestamptz,
        retired_at -> Nullable<Timestamptz>,
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

diesel::table! {
    deployment (only_row) {
        only_row -> Bool,
        cluster -> Uuid,
    }
}

diesel::joinable!(execution_files -> blobs (sha256));
diesel::allow_tables_to_appear_in_same_query!(
    executions,
    execution_files,
    blobs,
    output_chunks,
    workers,
    webhooks
);
