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
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = sql_types::BigInt)]
            number: i64,
        }
        let query = format!("SELECT ({query})::bigint AS number");
        sql_query(query).get_result::<Row>(&mut self.connect()).unwrap().number
    }

    /// The one text that the query gives.
    pub fn text(&self, query: &str) -> String {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = sql_types::Text)]
            text: String,
        }
        let query = format!("SELECT ({query})::text AS text");
        sql_query(query).get_result::<Row>(&mut self.connect()).unwrap().text
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        if let Err(error) = connect("postgres").batch_execute(&statement) {
            eprintln!("{} was not dropped: {error}", self.name);
        }
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
