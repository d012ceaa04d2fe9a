//! Migrations keep the rows, and `schema.rs` matches a migrated database.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use diesel::connection::SimpleConnection;
use diesel::{QueryableByName, RunQueryDsl, sql_query, sql_types};

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

/// Table and column, and the type that diesel has for it.
type Columns = BTreeMap<(String, String), String>;

fn columns_of_the_schema() -> Columns {
    let mut columns = Columns::new();
    let mut table = String::new();
    for line in include_str!("../../../src/store/schema.rs").lines().map(str::trim) {
        if let Some((name, _)) = line.split_once(" (").filter(|_| line.ends_with(" {")) {
            table = name.to_owned();
        } else if let Some((column, kind)) = line.trim_end_matches(',').split_once(" -> ")
            && !line.contains("joinable")
        {
            columns.insert((table.clone(), column.to_owned()), kind.to_owned());
        }
    }
    columns
}

fn columns_of(database: &Database) -> Columns {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = sql_types::Text)]
        table_name: String,
        #[diesel(sql_type = sql_types::Text)]
        column_name: String,
        #[diesel(sql_type = sql_types::Text)]
        type_name: String,
        #[diesel(sql_type = sql_types::Bool)]
        is_nullable: bool,
    }
    let query = "SELECT table_name::text, column_name::text, udt_name::text AS type_name,
                     is_nullable = 'YES' AS is_nullable
                 FROM information_schema.columns
                 WHERE table_schema = 'public' AND table_name <> '__diesel_schema_migrations'";
    let rows: Vec<Row> = sql_query(query).load(&mut database.connect()).unwrap();
    let column = |row: Row| {
        let kind = match row.type_name.as_str() {
            "text" => "Text",
            "bool" => "Bool",
            "int2" => "SmallInt",
            "int4" => "Integer",
            "int8" => "BigInt",
            "bytea" => "Binary",
            "jsonb" => "Jsonb",
            "timestamptz" => "Timestamptz",
            "uuid" => "Uuid",
            "_text" => "Array<Text>",
            other => panic!("{}.{} has type {other}", row.table_name, row.column_name),
        };
        let kind = if row.is_nullable { format!("Nullable<{kind}>") } else { kind.to_owned() };
        ((row.table_name, row.column_name), kind)
    };
    rows.into_iter().map(column).collect()
}

#[test]
fn the_schema_declares_every_table_and_column_of_a_migrated_database() {
    let database = Database::new();
    ok(&database, "up");
    let declared = columns_of_the_schema();
    let tables: std::collections::BTreeSet<_> = declared.keys().map(|(table, _)| table).collect();
    assert_eq!(tables.len(), 10, "{tables:?}");
    assert_eq!(declared, columns_of(&database));
    database.execute("ALTER TABLE workers RENAME COLUMN slots TO places");
    assert_ne!(declared, columns_of(&database));
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
    // Reverting its migration dropped the column with its data.
    assert_eq!(database.text("SELECT status || stdout FROM executions"), "completed");

    for _ in 0..steps {
        ok(&database, "down");
    }
    assert!(ok(&database, "down").contains("no migration is applied"));
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename <> '__diesel_schema_migrations'";
    assert_eq!(database.number(tables), 0);
    ok(&database, "up");
}

#[test]
fn reverting_labels_fails_the_executions_that_wait_for_them() {
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
fn concurrent_migrations_are_applied_once() {
    let database = Database::new();
    let outputs: Vec<String> = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| ok(&database, "up")));
        both.map(|one| one.join().unwrap()).into()
    });
    let applied = outputs.iter().filter(|output| output.contains("applied")).count();
    assert_eq!(applied, 1, "{outputs:?}");
}

#[test]
fn a_newer_schema_is_refused() {
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
fn the_database_refuses_impossible_rows() {
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
