//! A database of its own for each test, on the Postgres that `make test` starts.

use std::sync::atomic::{AtomicU32, Ordering};

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, sql_query, sql_types};

static NEXT: AtomicU32 = AtomicU32::new(0);

pub struct Database {
    name: String,
}

impl Database {
    pub fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        connect("postgres").batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        Self { name }
    }

    pub fn url(&self) -> String {
        url_of(&self.name)
    }

    pub fn connect(&self) -> PgConnection {
        connect(&self.name)
    }

    pub fn execute(&self, statement: &str) {
        self.connect().batch_execute(statement).unwrap();
    }

    /// The one number that the query gives.
    pub fn number(&self, query: &str) -> i64 {
        number(&mut self.connect(), query)
    }

    /// The one text that the query gives.
    pub fn text(&self, query: &str) -> String {
        text(&mut self.connect(), query)
    }
}

pub(super) fn number(connection: &mut PgConnection, query: &str) -> i64 {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = sql_types::BigInt)]
        number: i64,
    }
    let query = format!("SELECT ({query})::bigint AS number");
    sql_query(query).get_result::<Row>(connection).unwrap().number
}

pub(super) fn text(connection: &mut PgConnection, query: &str) -> String {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = sql_types::Text)]
        text: String,
    }
    let query = format!("SELECT ({query})::text AS text");
    sql_query(query).get_result::<Row>(connection).unwrap().text
}

impl Database {
    /// Containers of this deployment; none when it has no schema.
    fn containers(&self) -> Vec<String> {
        let deployed = self.number("SELECT count(*) FROM pg_tables WHERE tablename = 'deployment'") > 0;
        if deployed { super::containers_of(&self.text("SELECT cluster FROM deployment")) } else { Vec::new() }
    }
}

/// A test's database goes after its daemons, so nothing of them may be left then.
impl Drop for Database {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
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
