//! SQL that diesel lacks: the database's clock, a few functions, and prepared SQL text.

use std::marker::PhantomData;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::data_types::PgInterval;
use diesel::dsl::AsExprOf;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{
    BigInt, Binary, HasSqlType, Integer, Interval, Nullable, Text, Timestamptz, Untyped,
};
use diesel::{define_sql_function, infix_operator};

// Leases, ages and deadlines follow the database's clock alone. `now()` would stand still within a transaction.
define_sql_function! { fn clock_timestamp() -> Timestamptz; }
define_sql_function! { fn pg_postmaster_start_time() -> Timestamptz; }
define_sql_function! { fn pg_is_in_recovery() -> Bool; }
define_sql_function! { fn current_setting(name: Text) -> Text; }
define_sql_function! { fn pg_advisory_lock(key: BigInt) -> Text; }
define_sql_function! { fn pg_advisory_unlock(key: BigInt) -> Bool; }
define_sql_function! { fn pg_notify(channel: Text, payload: Text) -> Text; }
define_sql_function! { fn lower(text: Text) -> Text; }
define_sql_function! { fn split_part(text: Text, delimiter: Text, position: Integer) -> Text; }
define_sql_function! { fn strpos(text: Text, part: Text) -> Integer; }
define_sql_function! { fn concat_ws(separator: Text, first: Text, second: Text, third: Text) -> Text; }
define_sql_function! { fn coalesce(value: Nullable<Text>, default: Text) -> Text; }
define_sql_function! { fn octet_length(text: Text) -> Integer; }
define_sql_function! { #[sql_name = "octet_length"] fn blob_length(content: Binary) -> Integer; }
define_sql_function! { fn convert_to(text: Text, encoding: Text) -> Binary; }
define_sql_function! { #[sql_name = "substr"] fn byte_range(bytes: Binary, from: Integer, count: Integer) -> Binary; }

infix_operator!(Minus, " - ", Timestamptz, backend: Pg);
infix_operator!(Plus, " + ", Timestamptz, backend: Pg);

type IntervalBind = AsExprOf<PgInterval, Interval>;

pub(crate) fn ago(duration: Duration) -> Minus<clock_timestamp, IntervalBind> {
    Minus::new(clock_timestamp(), interval(duration).into_sql::<Interval>())
}

pub(crate) fn from_now(duration: Duration) -> Plus<clock_timestamp, IntervalBind> {
    Plus::new(clock_timestamp(), interval(duration).into_sql::<Interval>())
}

fn interval(duration: Duration) -> PgInterval {
    // Timestamps end at the year 294276.
    const LONGEST: Duration = Duration::from_secs(1000 * 366 * 24 * 3600);
    PgInterval::from_microseconds(duration.min(LONGEST).as_micros() as i64)
}

/// Zero when `later` is the earlier one.
pub(crate) fn elapsed(earlier: DateTime<Utc>, later: DateTime<Utc>) -> Duration {
    (later - earlier).to_std().unwrap_or_default()
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// SQL text with parameters `$1`, `$2`, …, prepared once per connection. The text must not depend on data, because each
/// text is cached. `diesel::sql_query` would parse and plan the text at each call, in a round trip of its own.
pub(crate) fn statement(sql: &'static str) -> Statement {
    Statement(sql)
}

pub(crate) struct Statement(&'static str);

/// A statement with one more parameter.
pub(crate) struct Bound<Q, ST, T> {
    query: Q,
    value: T,
    sql_type: PhantomData<ST>,
}

impl Statement {
    pub fn bind<ST, T>(self, value: T) -> Bound<Self, ST, T> {
        Bound { query: self, value, sql_type: PhantomData }
    }
}

impl<Q, ST, T> Bound<Q, ST, T> {
    pub fn bind<Next, U>(self, value: U) -> Bound<Self, Next, U> {
        Bound { query: self, value, sql_type: PhantomData }
    }
}

impl QueryFragment<Pg> for Statement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(self.0);
        // diesel writes a `$n` for each value that it binds; the text has its own, so these end up in a comment.
        out.push_sql("\n-- ");
        Ok(())
    }
}

impl<Q, ST, T> QueryFragment<Pg> for Bound<Q, ST, T>
where
    Q: QueryFragment<Pg>,
    T: ToSql<ST, Pg>,
    Pg: HasSqlType<ST>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.query.walk_ast(out.reborrow())?;
        out.push_bind_param(&self.value)
    }
}

impl<Q, ST, T> QueryId for Bound<Q, ST, T> {
    type QueryId = ();
    // diesel then caches the statement by its text.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q, ST, T> Query for Bound<Q, ST, T> {
    type SqlType = Untyped;
}

impl<Q, ST, T> RunQueryDsl<PgConnection> for Bound<Q, ST, T> {}
