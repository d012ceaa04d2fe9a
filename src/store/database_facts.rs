//! What `rgridd doctor` checks about the database.

use diesel::prelude::*;
use diesel::select;
use diesel::sql_types::Integer;

use crate::store::sql::{current_setting, pg_is_in_recovery, split_part};
use crate::store::{Result, Store};

diesel::table! {
    // One row per connection; a view of Postgres.
    pg_stat_activity (pid) {
        pid -> Integer,
    }
}

#[derive(Debug, Clone, Queryable)]
pub struct DatabaseFacts {
    /// Such as 150004.
    pub version: i32,
    pub version_text: String,
    pub max_connections: i32,
    pub in_use: i64,
    pub superuser: bool,
    pub encoding: String,
    /// A standby server.
    pub read_only: bool,
}

impl Store {
    pub async fn database_facts(&self) -> Result<DatabaseFacts> {
        self.get(select((
            current_setting("server_version_num").fallible_cast::<Integer>(),
            split_part(current_setting("server_version"), " ", 1),
            current_setting("max_connections").fallible_cast::<Integer>(),
            pg_stat_activity::table.count().single_value().assume_not_null(),
            current_setting("is_superuser").eq("on"),
            current_setting("server_encoding"),
            pg_is_in_recovery(),
        )))
        .await
    }
}
