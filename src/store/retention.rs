//! Removing what exceeds the retention settings: executions that have ended, their output, and unreferenced blobs.
//!
//! Each call removes a bounded number, so that no transaction holds locks for long. Callers repeat it until nothing is
//! left.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::{exists, not, sum};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable};

use crate::store::schema::{blobs, environments, execution_files, executions, images, output_chunks};
use crate::store::sql::{ago, blob_length, clock_timestamp, octet_length, signed};
use crate::store::{Result, Store, executions::files::role};

/// The most that one call removes by age or count.
const BATCH: i64 = 500;

impl Store {
    /// Removes executions that ended longer ago. Returns how many.
    pub async fn remove_older_than(&self, age: Duration) -> Result<usize> {
        self.remove_oldest(age, BATCH).await
    }

    /// Removes the oldest ended executions beyond the newest `count`.
    pub async fn remove_all_but_newest(&self, count: u64) -> Result<usize> {
        self.transaction(move |conn| {
            let cutoff: Option<Option<DateTime<Utc>>> = executions::table
                .filter(executions::completed_at.is_not_null())
                .order(executions::completed_at.desc())
                .offset(signed(count))
                .select(executions::completed_at)
                .first(conn)
                .optional()?;
            remove(conn, Box::new(executions::completed_at.le(cutoff.flatten())), BATCH)
        })
        .await
    }

    /// Removes the oldest executions that ended longer ago.
    pub(super) async fn remove_oldest(&self, age: Duration, count: i64) -> Result<usize> {
        let ended = executions::completed_at.lt(ago(age).nullable());
        self.transaction(move |conn| remove(conn, Box::new(ended), count)).await
    }

    /// Removes the output of executions that ended longer ago. Their rows and results stay.
    pub async fn prune_older_than(&self, age: Duration) -> Result<usize> {
        self.prune_oldest(age, BATCH).await
    }

    pub(super) async fn prune_oldest(&self, age: Duration, count: i64) -> Result<usize> {
        let ended = executions::completed_at.lt(ago(age).nullable());
        self.transaction(move |conn| {
            let old = lock_oldest(conn, Box::new(ended.and(executions::pruned_at.is_null())), count)?;
            let outputs = execution_files::table
                .filter(execution_files::execution_id.eq_any(&old))
                .filter(execution_files::role.eq(role::OUTPUT));
            diesel::delete(outputs).execute(conn)?;
            let pruned = diesel::update(executions::table.filter(executions::id.eq_any(&old))).set((
                executions::stdout.eq(""),
                executions::stderr.eq(""),
                executions::install_output.eq(""),
                executions::output_cuts.eq(None::<serde_json::Value>),
                executions::pruned_at.eq(clock_timestamp().nullable()),
            ));
            Ok(pruned.execute(conn)?)
        })
        .await
    }

    /// Removes blobs that no execution references. Younger ones stay, because a submission may be about to reference
    /// them.
    pub async fn remove_unreferenced_blobs(&self, age: Duration) -> Result<usize> {
        self.transaction(move |conn| {
            let is_referenced =
                || exists(execution_files::table.filter(execution_files::sha256.eq(blobs::sha256)));
            let unreferenced: Vec<Vec<u8>> = blobs::table
                .filter(blobs::created_at.lt(ago(age)))
                .filter(not(is_referenced()))
                .limit(BATCH)
                .select(blobs::sha256)
                .for_update()
                .skip_locked()
                .load(conn)?;
            let blobs = blobs::table.filter(blobs::sha256.eq_any(unreferenced));
            Ok(diesel::delete(blobs.filter(not(is_referenced()))).execute(conn)?)
        })
        .await
    }

    /// The number of running executions.
    pub async fn running(&self) -> Result<u64> {
        let running = executions::table.filter(executions::status.eq("running"));
        self.get(running.count()).await.map(i64::unsigned_abs)
    }

    /// Bytes of all blobs, outputs, environments and images. Not the size of the database's files, because Postgres
    /// reuses freed space. Reads the sizes in every row, so it is not for each request.
    pub async fn stored_bytes(&self) -> Result<u64> {
        self.query(|conn| {
            let blobs: Option<i64> = blobs::table.select(sum(blob_length(blobs::content))).first(conn)?;
            let outputs: (Option<i64>, Option<i64>, Option<i64>) = executions::table
                .select((
                    sum(octet_length(executions::stdout)),
                    sum(octet_length(executions::stderr)),
                    sum(octet_length(executions::install_output)),
                ))
                .first(conn)?;
            let chunks: Option<i64> =
                output_chunks::table.select(sum(octet_length(output_chunks::text))).first(conn)?;
            let environments: Vec<i64> = environments::table.select(environments::size_bytes).load(conn)?;
            let images: Vec<i64> =
                images::table.filter(images::retired_at.is_null()).select(images::size_bytes).load(conn)?;
            let texts = [blobs, outputs.0, outputs.1, outputs.2, chunks];
            let bytes = texts.into_iter().flatten().chain(environments).chain(images).sum::<i64>();
            Ok(bytes.unsigned_abs())
        })
        .await
    }
}

type Condition = Box<dyn BoxableExpression<executions::table, Pg, SqlType = Nullable<Bool>>>;

fn lock_oldest(conn: &mut PgConnection, condition: Condition, count: i64) -> QueryResult<Vec<String>> {
    executions::table
        .filter(condition)
        .order(executions::completed_at)
        .limit(count)
        .select(executions::id)
        .for_update()
        .skip_locked()
        .load(conn)
}

fn remove(conn: &mut PgConnection, condition: Condition, count: i64) -> Result<usize> {
    let old = lock_oldest(conn, condition, count)?;
    Ok(diesel::delete(executions::table.filter(executions::id.eq_any(old))).execute(conn)?)
}
