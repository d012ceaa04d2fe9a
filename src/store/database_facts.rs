//! What a database is like, as far as the daemon needs it: for `rgridd doctor`.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool, Integer, Text};

use crate::store::{Store, StoreError};

#[derive(Debug, Clone, QueryableByName)]
pub struct DatabaseFacts {
    /// Such as 150004.
    #[diesel(sql_type = Integer)]
    pub version: i32,
    #[diesel(sql_type = Text)]
    pub version_text: String,
    #[diesel(sql_type = Integer)]
    pub max_connections: i32,
    #[diesel(sql_type = BigInt)]
    pub in_use: i64,
    #[diesel(sql_type = Bool)]
    pub superuser: bool,
    #[diesel(sql_type = Text)]
    pub encoding: String,
    /// It takes no writes: a stand-by.
    #[diesel(sql_type = Bool)]
    pub read_only: bool,
}

impl Store {
    pub async fn database_facts(&self) -> Result<DatabaseFacts, StoreError> {
        self.run(|conn| {
            Ok(sql_query(
                "SELECT current_setting('server_version_num')::int AS version,
                    split_part(current_setting('server_version'), ' ', 1) AS version_text,
                    current_setting('max_connections')::int AS max_connections,
                    (SELECT count(*) FROM pg_stat_activity) AS in_use,
                    coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), false) AS superuser,
                    current_setting('server_encoding') AS encoding,
                    pg_is_in_recovery() AS read_only",
            )
            .get_result(conn)?)
        })
        .await
    }
}
