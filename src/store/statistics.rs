//! The last hour in numbers, for the dashboard, and what `rgridd doctor` checks about the database.

use diesel::prelude::*;
use diesel::select;
use diesel::sql_types::{BigInt, Double, Integer, Nullable};

use crate::store::sql::{current_setting, pg_is_in_recovery, split_part, statement};
use crate::store::{Result, Store};

/// The period of the statistics.
pub const MINUTES: i64 = 60;

/// Minutes in which no execution ended have no row. SQL text: the DSL has no percentiles.
const LAST_HOUR: &str = "
    SELECT floor(extract(epoch FROM clock_timestamp() - completed_at) / 60)::bigint AS ago,
        count(*) FILTER (WHERE status = 'completed') AS completed,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM completed_at - created_at)::float8)
            FILTER (WHERE status <> 'cancelled') AS median,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM completed_at - created_at)::float8)
            FILTER (WHERE status <> 'cancelled') AS slow
    FROM executions WHERE completed_at > clock_timestamp() - $1 * interval '1 min'
    GROUP BY 1 ORDER BY 1";

/// The executions that ended in one minute.
#[derive(Debug, Clone, Copy, PartialEq, QueryableByName)]
pub struct Minute {
    /// Minutes ago; 0 is the last 60 seconds.
    #[diesel(sql_type = BigInt)]
    pub ago: i64,
    #[diesel(sql_type = BigInt)]
    pub completed: i64,
    #[diesel(sql_type = BigInt)]
    pub failed: i64,
    #[diesel(sql_type = BigInt)]
    pub cancelled: i64,
    /// Median of the seconds from submission to end.
    #[diesel(sql_type = Nullable<Double>)]
    pub median: Option<f64>,
    /// 95th percentile of the same.
    #[diesel(sql_type = Nullable<Double>)]
    pub slow: Option<f64>,
}

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
    pub async fn last_hour(&self) -> Result<Vec<Minute>> {
        self.query(|conn| statement(LAST_HOUR).bind::<BigInt, _>(MINUTES).load(conn)).await
    }

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
