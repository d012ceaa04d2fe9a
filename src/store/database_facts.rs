//! What `rgridd doctor` checks about the database.

use diesel::prelude::*;
use diesel::select;

use crate::store::sql::{current_setting, pg_is_in_recovery};
use crate::store::{Result, Store, StoreError};

diesel::table! {
    // One row per connection; a view of Postgres.
    pg_stat_activity (pid) {
        pid -> Integer,
    }
}

#[derive(Debug, Clone)]
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
        self.run(|conn| {
            let mut setting = |name: &str| select(current_setting(name)).get_result::<String>(conn);
            let version = setting("server_version_num")?;
            let version_text = setting("server_version")?;
            let max_connections = setting("max_connections")?;
            Ok(DatabaseFacts {
                version: version.parse().map_err(StoreError::unreadable)?,
                version_text: version_text.split(' ').next().unwrap_or_default().to_owned(),
                max_connections: max_connections.parse().map_err(StoreError::unreadable)?,
                superuser: setting("is_superuser")? == "on",
                encoding: setting("server_encoding")?,
                in_use: pg_stat_activity::table.count().get_result(conn)?,
                read_only: select(pg_is_in_recovery()).get_result(conn)?,
            })
        })
        .await
    }
}
