//! A database for each test, on the Postgres that `make test` starts.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, sql_query, sql_types};

use crate::support::{environments_of, remove_volume};

static NEXT: AtomicU32 = AtomicU32::new(0);

pub struct Database {
    name: String,
    /// For queries, opened by the first one; a connection for each query would be most of the work of Postgres here.
    asking: Mutex<Option<PgConnection>>,
}

impl Database {
    pub fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        connect("postgres").batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        Self { name, asking: Mutex::default() }
    }

    pub fn url(&self) -> String {
        url_of(&self.name)
    }

    pub fn connect(&self) -> PgConnection {
        connect(&self.name)
    }

    pub fn execute(&self, statement: &str) {
        self.ask(|connection| connection.batch_execute(statement).unwrap());
    }

    /// The number that the query returns.
    pub fn number(&self, query: &str) -> i64 {
        self.ask(|connection| number(connection, query))
    }

    /// The text that the query returns.
    pub fn text(&self, query: &str) -> String {
        self.ask(|connection| text(connection, query))
    }

    fn ask<T>(&self, question: impl FnOnce(&mut PgConnection) -> T) -> T {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        question(asking.get_or_insert_with(|| self.connect()))
    }
}

impl Database {
    /// The deployment's id, the label of its containers and volumes.
    pub fn cluster(&self) -> String {
        self.text("SELECT cluster FROM deployment")
    }

    /// Environments outlive a daemon, but no test uses another one's.
    fn remove_environments(&self) {
        let used = "SELECT count(*) FROM pg_tables WHERE tablename = 'executions'";
        let installed = "SELECT count(*) FROM executions WHERE requirements IS NOT NULL";
        if self.number(used) > 0 && self.number(installed) > 0 {
            for volume in environments_of(&self.cluster()) {
                remove_volume(&volume);
            }
        }
    }
}

pub(crate) fn number(connection: &mut PgConnection, query: &str) -> i64 {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = sql_types::BigInt)]
        number: i64,
    }
    let query = format!("SELECT ({query})::bigint AS number");
    sql_query(query).get_result::<Row>(connection).unwrap().number
}

pub fn text(connection: &mut PgConnection, query: &str) -> String {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = sql_types::Text)]
        text: String,
    }
    let query = format!("SELECT ({query})::text AS text");
    sql_query(query).get_result::<Row>(connection).unwrap().text
}

impl Database {
    /// Containers of this deployment; none if the database has no schema.
    fn containers(&self) -> Vec<String> {
        let deployed = self.number("SELECT count(*) FROM pg_tables WHERE tablename = 'deployment'") > 0;
        if deployed {
            crate::support::containers_of(&self.text("SELECT cluster FROM deployment"))
        } else {
            Vec::new()
        }
    }
}

/// A test drops its database after its daemons, so no container may be left.
impl Drop for Database {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if !failed {
            self.remove_environments();
        }
        let left = if failed { Vec::new() } else { self.containers() };
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        if let Err(error) = connect("postgres").batch_execute(&statement) {
            eprintln!("{} was not dropped: {error}", self.name);
        }
        assert!(failed || left.is_empty(), "containers are left behind: {left:?}");
    }
}

fn url_of(database: &str) -> String {
    let base = std::env::var("RGRID_TEST_POSTGRES").expect(
        "RGRID_TEST_POSTGRES is not set: run the tests with `make test`, or below `scripts/with-postgres`",
    );
    format!("{base}/{database}")
}

fn connect(database: &str) -> PgConnection {
    PgConnection::establish(&url_of(database)).expect("the tests' Postgres does not answer: run `make test`")
}

/// Inserts executions that ended in the last hour.
pub fn make_up_an_hour(database: &Database) {
    let made_up = "
        INSERT INTO executions (id, status, runtime, script_name, labels, timeout_ms, memory_bytes, cpus_milli, max_attempts,
            attempt, created_at, started_at, completed_at, exit_code, failure_kind, execution_error)
        SELECT 'exec_0' || lpad(n::text, 25, '0'), CASE WHEN n % 17 = 0 THEN 'failed' ELSE 'completed' END, 'python:3.11',
            (ARRAY['nightly_report.py', 'sync_orders.py', 'resize_images.py'])[1 + n % 3],
            jsonb_build_object('team', (ARRAY['data', 'web'])[1 + n % 2]), 600000, 536870912, 1000, 2, 1,
            ended - took - waited, ended - took, ended, CASE WHEN n % 17 = 0 THEN 1 ELSE 0 END,
            CASE WHEN n % 17 = 0 THEN 'exit' END,
            CASE WHEN n % 17 = 0 THEN 'the script ended with exit code 1: uncaught ValueError (`no orders`) in line 7 of sync_orders.py' END
        FROM (SELECT n, clock_timestamp() - interval '58 min' * (1 - n / 400.0) * (0.9 + 0.1 * sin(n)) AS ended,
                interval '1 s' * (0.6 + abs(sin(n * 0.7)) * 1.5 + (n % 23 = 0)::int * 4) AS took,
                interval '1 ms' * (n % 300) AS waited
            FROM generate_series(1, 400) n) AS hour";
    database.connect().batch_execute(made_up).unwrap();
}
