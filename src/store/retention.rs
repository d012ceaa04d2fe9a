//! What is kept for how long: rows of ended executions, what they said and left, and contents that nobody names.
//!
//! Each call removes a bounded number, so that no statement holds locks for long; whoever calls goes on until
//! nothing is left to remove. Only what has ended is ever touched.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;

use crate::store::statement::statement;
use crate::store::{Store, StoreError};

/// Removed by one statement at most.
const BATCH: i64 = 500;

const BY_AGE: &str = "
    WITH old AS (
        SELECT id FROM executions WHERE completed_at < clock_timestamp() - $1 * interval '1 s'
        ORDER BY completed_at LIMIT $2 FOR UPDATE SKIP LOCKED)
    DELETE FROM executions e USING old WHERE e.id = old.id";

/// Those beyond the newest `$1`.
const BY_COUNT: &str = "
    WITH old AS (
        SELECT id FROM executions WHERE completed_at <= (
            SELECT completed_at FROM executions WHERE completed_at IS NOT NULL
            ORDER BY completed_at DESC OFFSET $1 LIMIT 1)
        ORDER BY completed_at LIMIT $2 FOR UPDATE SKIP LOCKED)
    DELETE FROM executions e USING old WHERE e.id = old.id";

/// The row stays, with how it ended; what it said and all its files go.
const PRUNE_BY_AGE: &str = "
    WITH old AS (
        SELECT id FROM executions
        WHERE completed_at < clock_timestamp() - $1 * interval '1 s' AND pruned_at IS NULL
        ORDER BY completed_at LIMIT $2 FOR UPDATE SKIP LOCKED),
    files AS (DELETE FROM execution_files f USING old WHERE f.execution_id = old.id AND f.role = 'output')
    UPDATE executions e
    SET stdout = '', stderr = '', install_output = '', output_cuts = NULL, pruned_at = clock_timestamp()
    FROM old WHERE e.id = old.id";

const RUNNING: &str = "SELECT count(*) AS number FROM executions WHERE status = 'running'";

/// A content that a submission is just about to name is young: it stays for `$1` seconds.
const BLOBS: &str = "
    WITH unnamed AS (
        SELECT sha256 FROM blobs b WHERE created_at < clock_timestamp() - $1 * interval '1 s'
            AND NOT EXISTS (SELECT FROM execution_files f WHERE f.sha256 = b.sha256)
        LIMIT $2 FOR UPDATE SKIP LOCKED)
    DELETE FROM blobs b USING unnamed WHERE b.sha256 = unnamed.sha256
        AND NOT EXISTS (SELECT FROM execution_files f WHERE f.sha256 = b.sha256)";

/// What is stored, not what the files have grown to: Postgres keeps room that was freed for what comes.
const STORED: &str = "
    SELECT (SELECT coalesce(sum(octet_length(content)), 0) FROM blobs)::bigint
        + (SELECT coalesce(sum(octet_length(stdout) + octet_length(stderr) + octet_length(install_output)), 0)
           FROM executions)::bigint
        + (SELECT coalesce(sum(octet_length(text)), 0) FROM output_chunks)::bigint
        + (SELECT coalesce(sum(size_bytes), 0) FROM environments)::bigint
        + (SELECT coalesce(sum(size_bytes), 0) FROM images WHERE retired_at IS NULL)::bigint AS number";

impl Store {
    /// Removes executions that ended longer ago; how many.
    pub async fn remove_older_than(&self, than: Duration) -> Result<usize, StoreError> {
        self.remove(BY_AGE, seconds(than)).await
    }

    /// Removes ended executions beyond the newest so many.
    pub async fn remove_all_but_newest(&self, count: u64) -> Result<usize, StoreError> {
        self.remove(BY_COUNT, i64::try_from(count).unwrap_or(i64::MAX)).await
    }

    /// Empties executions that ended longer ago.
    pub async fn prune_older_than(&self, than: Duration) -> Result<usize, StoreError> {
        self.remove(PRUNE_BY_AGE, seconds(than)).await
    }

    /// Empties the oldest ended executions.
    pub async fn prune_oldest(&self, count: i64) -> Result<usize, StoreError> {
        self.remove_some(PRUNE_BY_AGE, 0, count).await
    }

    /// Removes the oldest ended executions.
    pub async fn remove_oldest(&self, count: i64) -> Result<usize, StoreError> {
        self.remove_some(BY_AGE, 0, count).await
    }

    pub async fn running(&self) -> Result<u64, StoreError> {
        self.run(|conn| {
            let row: NumberRow = sql_query(RUNNING).get_result(conn)?;
            Ok(row.number.unsigned_abs())
        })
        .await
    }

    /// Removes contents that no execution names, and that are older.
    pub async fn remove_unreferenced_blobs(&self, older_than: Duration) -> Result<usize, StoreError> {
        self.remove(BLOBS, seconds(older_than)).await
    }

    /// Bytes of all contents, outputs, environments and images. Reads sizes alone, yet of every row: not for each request.
    pub async fn stored_bytes(&self) -> Result<u64, StoreError> {
        self.run(|conn| {
            let row: NumberRow = sql_query(STORED).get_result(conn)?;
            Ok(row.number.unsigned_abs())
        })
        .await
    }

    async fn remove(&self, removal: &'static str, limit: i64) -> Result<usize, StoreError> {
        self.remove_some(removal, limit, BATCH).await
    }

    /// `limit` is an age in seconds or a number, as the statement has it; at most `count` go.
    async fn remove_some(&self, removal: &'static str, limit: i64, count: i64) -> Result<usize, StoreError> {
        self.run(move |conn| {
            Ok(statement(removal).bind::<BigInt, _>(limit).bind::<BigInt, _>(count).execute(conn)?)
        })
        .await
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[derive(QueryableByName)]
struct NumberRow {
    #[diesel(sql_type = BigInt)]
    number: i64,
}
