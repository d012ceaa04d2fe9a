//! SQL that is prepared once a connection.
//!
//! `diesel::sql_query` sends its text to be parsed and planned at each call, in a round trip of its own. For the few
//! statements that every run costs, that is more than the statements themselves.

use std::marker::PhantomData;

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::serialize::ToSql;
use diesel::sql_types::{HasSqlType, Untyped};
use diesel::{PgConnection, RunQueryDsl};

/// A statement with parameters `$1`, `$2`, …; its text must not depend on data, because each text is kept.
pub(crate) fn statement(sql: &'static str) -> Statement {
    Statement(sql)
}

pub(crate) struct Statement(&'static str);

/// The statement with one parameter more.
pub(crate) struct Bound<Q, ST, T> {
    query: Q,
    value: T,
    kind: PhantomData<ST>,
}

impl Statement {
    pub fn bind<ST, T>(self, value: T) -> Bound<Self, ST, T> {
        Bound { query: self, value, kind: PhantomData }
    }
}

impl<Q, ST, T> Bound<Q, ST, T> {
    pub fn bind<Next, U>(self, value: U) -> Bound<Self, Next, U> {
        Bound { query: self, value, kind: PhantomData }
    }
}

impl QueryFragment<Pg> for Statement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(self.0);
        // diesel can't bind a value without writing its `$n` down too; the text has its own, so those go into a comment.
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
    // Known by its text.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q, ST, T> Query for Bound<Q, ST, T> {
    type SqlType = Untyped;
}

impl<Q, ST, T> RunQueryDsl<PgConnection> for Bound<Q, ST, T> {}
