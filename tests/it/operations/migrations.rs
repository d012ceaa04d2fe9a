//! The schema grows and shrinks without losing what is in it.

use std::process::{Command, Output};

use diesel::connection::SimpleConnection;

use crate::support::Database;

fn migrate(database: &Database, what: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rgridd"))
        .args(["migrate", what])
        .env("RGRID_DATABASE__URL", database.url())
        .output()
        .unwrap()
}

fn ok(database: &Database, what: &str) -> String {
    let output = migrate(database, what);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn up_and_down_and_up_keep_the_rows() {
    let database = Database::new();
    assert!(ok(&database, "status").contains("pending"));
    ok(&database, "up");
    database
        .connect()
        .batch_execute(
            "INSERT INTO executions (id, status, runtime, script_name, timeout_ms, memory_bytes, cpus_milli,
                max_attempts, attempt, started_at, completed_at, exit_code, stdout)
             VALUES ('exec_a', 'completed', 'python:3.11', 'a.py', 1, 1, 1, 1, 1, now(), now(), 0, 'kept')",
        )
        .unwrap();
    assert_eq!(database.text("SELECT stdout FROM executions"), "kept");

    let steps = ok(&database, "status").lines().count();
    for _ in 1..steps {
        ok(&database, "down");
    }
    assert_eq!(database.text("SELECT status FROM executions"), "completed");
    ok(&database, "up");
    // The column came back empty: its step was taken back with its data.
    assert_eq!(database.text("SELECT status || stdout FROM executions"), "completed");

    for _ in 0..steps {
        ok(&database, "down");
    }
    assert!(ok(&database, "down").contains("no step left"));
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename <> '__diesel_schema_migrations'";
    assert_eq!(database.number(tables), 0);
    ok(&database, "up");
}

#[test]
fn going_back_behind_labels_ends_what_waits_for_them_with_words() {
    let database = Database::new();
    ok(&database, "up");
    let row = |id: &str, on: &str| {
        format!(
            "INSERT INTO executions (id, runtime, script_name, timeout_ms, memory_bytes, cpus_milli, max_attempts, on_labels)
             VALUES ('{id}', 'r', 's', 1, 1, 1, 1, '{on}')"
        )
    };
    database.execute(&row("exec_gpu", "{\"gpu\": \"true\"}"));
    database.execute(&row("exec_any", "{}"));
    while ok(&database, "status").lines().any(|line| line.contains("0009") && !line.contains("pending")) {
        ok(&database, "down");
    }
    assert_eq!(database.text("SELECT status FROM executions WHERE id = 'exec_any'"), "queued");
    let ended = "SELECT status || ': ' || execution_error FROM executions WHERE id = 'exec_gpu'";
    let words = "failed: the server went back to a version that knows no labels of workers (it waited for \
                 {\"gpu\": \"true\"}); submit it again";
    assert_eq!(database.text(ended), words);
}

#[test]
fn two_migrations_at_once_take_turns() {
    let database = Database::new();
    let outputs: Vec<String> = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| ok(&database, "up")));
        both.map(|one| one.join().unwrap()).into()
    });
    let applied = outputs.iter().filter(|output| output.contains("applied")).count();
    assert_eq!(applied, 1, "{outputs:?}");
}

#[test]
fn a_newer_schema_is_refused_with_words() {
    let database = Database::new();
    ok(&database, "up");
    database
        .connect()
        .batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')")
        .unwrap();
    let output = migrate(&database, "up");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("newer than this rgridd") && said.contains("9999"), "{said}");
    assert!(ok(&database, "status").contains("applied by a newer rgridd"));
}

#[test]
fn the_database_refuses_states_that_cannot_be() {
    let database = Database::new();
    ok(&database, "up");
    let row = |columns: &str, values: &str| {
        format!(
            "INSERT INTO executions (id, runtime, script_name, timeout_ms, memory_bytes, cpus_milli, max_attempts{columns})
             VALUES ('exec_' || gen_random_uuid(), 'r', 's', 1, 1, 1, 1{values})"
        )
    };
    let mut connection = database.connect();
    connection.batch_execute(&row("", "")).unwrap();
    for (columns, values) in [
        (", status", ", 'asleep'"),
        (", status", ", 'running'"),
        (", status, completed_at", ", 'completed', now()"),
        (", status, completed_at", ", 'failed', now()"),
        (", status, attempt", ", 'queued', 2"),
        (", status, started_at", ", 'queued', now()"),
        (", attempt", ", -1"),
    ] {
        let refused = connection.batch_execute(&row(columns, values));
        assert!(refused.is_err(), "{columns}: {values}");
    }
}
