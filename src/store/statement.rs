//! Statements that Postgres parses and plans once a connection.
//!
//! `diesel::sql_query` asks for every statement to be prepared anew, which costs a round trip and a plan each time. The
//! queue's statements are few and their texts never change, so diesel's cache of prepared ones fits.

use std::marker::PhantomData;

use diesel::RunQueryDsl;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::serialize::ToSql;
use diesel::sql_types::{HasSqlType, Untyped};

/// A text with `$1`, `$2` …, and their values.
pub(super) struct Statement<'a> {
    text: &'static str,
    values: Vec<Box<dyn QueryFragment<Pg> + 'a>>,
}

pub(super) fn prepared<'a>(text: &'static str) -> Statement<'a> {
    Statement { text, values: Vec::new() }
}

impl<'a> Statement<'a> {
    /// The next value: the first call binds `$1`. A value that the text names twice is sent twice.
    pub fn bind<S, T>(mut self, value: T) -> Self
    where
        S: 'a,
        T: ToSql<S, Pg> + 'a,
        Pg: HasSqlType<S>,
    {
        self.values.push(Box::new(Value::<S, T>(value, PhantomData)));
        self
    }
}

struct Value<S, T>(T, PhantomData<S>);

impl<S, T> QueryFragment<Pg> for Value<S, T>
where
    T: ToSql<S, Pg>,
    Pg: HasSqlType<S>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_bind_param::<S, T>(&self.0)
    }
}

impl QueryFragment<Pg> for Statement<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        for (number, (place, words)) in pieces(self.text).enumerate() {
            // The first piece stands before all placeholders.
            if number > 0 {
                let value = self.values.get(place.wrapping_sub(1));
                value.ok_or_else(|| unbound(place))?.walk_ast(out.reborrow())?;
            }
            out.push_sql(words);
        }
        Ok(())
    }
}

/// The number of each placeholder, and the text behind it; 0 with the text before the first one.
fn pieces(text: &'static str) -> impl Iterator<Item = (usize, &'static str)> {
    text.split('$').enumerate().map(|(at, piece)| {
        let digits = piece.find(|c: char| !c.is_ascii_digit()).unwrap_or(piece.len());
        let (number, words) = if at == 0 { ("0", piece) } else { piece.split_at(digits) };
        (number.parse().unwrap_or(0), words)
    })
}

fn unbound(place: usize) -> diesel::result::Error {
    diesel::result::Error::QueryBuilderError(format!("no value was bound for ${place}").into())
}

impl QueryId for Statement<'_> {
    type QueryId = ();
    // The text tells one from another.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Statement<'_> {
    type SqlType = Untyped;
}

impl<Conn> RunQueryDsl<Conn> for Statement<'_> {}

#[cfg(test)]
mod tests {
    use diesel::debug_query;
    use diesel::sql_types::{Integer, Text};

    use super::*;

    #[test]
    fn a_value_that_is_named_twice_is_bound_twice() {
        let statement =
            prepared("SELECT $2 || $1, $1").bind::<Integer, _>(7).bind::<Text, _>("seven".to_owned());
        let shown = debug_query::<Pg, _>(&statement).to_string();
        assert_eq!(shown, "SELECT $1 || $2, $3 -- binds: [\"seven\", 7, 7]");
    }

    #[test]
    fn a_value_that_was_forgotten_is_an_error() {
        assert!(QueryFragment::<Pg>::is_safe_to_cache_prepared(&prepared("SELECT $1"), &Pg).is_err());
    }
}
