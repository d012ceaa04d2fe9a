//! Who runs: each worker's row, and what the deployment is called.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool, Integer, Jsonb, Nullable, Text, Timestamptz};

use crate::execution::{Claim, ExecutionId, WorkerId};
use crate::store::{Store, StoreError};

/// A worker that has not been seen for this long is dropped from the table.
const FORGET_AFTER_MS: i64 = 7 * 24 * 3600 * 1000;

#[derive(Debug, Clone, QueryableByName)]
pub struct WorkerRow {
    #[diesel(sql_type = Text)]
    pub id: String,
    #[diesel(sql_type = Text)]
    pub name: String,
    #[diesel(sql_type = Integer)]
    pub slots: i32,
    #[diesel(sql_type = BigInt)]
    pub running: i64,
    #[diesel(sql_type = Timestamptz)]
    pub started_at: DateTime<Utc>,
    #[diesel(sql_type = Timestamptz)]
    pub last_seen: DateTime<Utc>,
    #[diesel(sql_type = Bool)]
    pub draining: bool,
    /// None: an older rgridd, which knows of none.
    #[diesel(sql_type = Nullable<Jsonb>)]
    labels: Option<serde_json::Value>,
}

impl WorkerRow {
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.labels.clone().and_then(|labels| serde_json::from_value(labels).ok()).unwrap_or_default()
    }
}

impl Store {
    /// The deployment's own id, the label of its containers.
    pub async fn cluster(&self) -> Result<String, StoreError> {
        self.run(|conn| {
            let row: TextRow = sql_query("SELECT cluster::text AS text FROM deployment").get_result(conn)?;
            Ok(row.text)
        })
        .await
    }

    pub async fn register_worker(
        &self,
        id: &WorkerId,
        name: &str,
        slots: usize,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        let (id, name, labels) = (id.clone(), name.to_owned(), serde_json::json!(labels));
        self.run(move |conn| {
            sql_query("DELETE FROM workers WHERE last_seen < clock_timestamp() - $1 * interval '1 ms'")
                .bind::<BigInt, _>(FORGET_AFTER_MS)
                .execute(conn)?;
            sql_query("INSERT INTO workers (id, name, slots, labels) VALUES ($1, $2, $3, $4)")
                .bind::<Text, _>(id.as_str())
                .bind::<Text, _>(name)
                .bind::<Integer, _>(i32::try_from(slots).unwrap_or(i32::MAX))
                .bind::<Jsonb, _>(labels)
                .execute(conn)?;
            Ok(())
        })
        .await
    }

    pub async fn touch_worker(&self, id: &WorkerId, draining: bool) -> Result<(), StoreError> {
        let id = id.clone();
        self.run(move |conn| {
            sql_query("UPDATE workers SET last_seen = clock_timestamp(), draining = $2 WHERE id = $1")
                .bind::<Text, _>(id.as_str())
                .bind::<Bool, _>(draining)
                .execute(conn)?;
            Ok(())
        })
        .await
    }

    /// The worker has ended in good order: it owns nothing and will not come back.
    pub async fn mark_worker_stopped(&self, id: &WorkerId) -> Result<(), StoreError> {
        let id = id.clone();
        self.run(move |conn| {
            sql_query("UPDATE workers SET last_seen = clock_timestamp(), stopped_at = clock_timestamp() WHERE id = $1")
                .bind::<Text, _>(id.as_str())
                .execute(conn)?;
            Ok(())
        })
        .await
    }

    /// Those that have not stopped in good order, the freshest first.
    pub async fn workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        self.run(|conn| {
            Ok(sql_query(
                "SELECT w.id, w.name, w.slots, w.started_at, w.last_seen, w.draining, w.labels,
                    (SELECT count(*) FROM executions e WHERE e.status = 'running' AND e.worker_id = w.id)
                        AS running
                 FROM workers w WHERE stopped_at IS NULL
                    -- One that was killed, came back, and was then stopped, is not missing.
                    AND NOT EXISTS (SELECT FROM workers later WHERE later.name = w.name
                        AND later.stopped_at IS NOT NULL AND later.started_at >= w.last_seen)
                 ORDER BY last_seen DESC LIMIT 1000",
            )
            .load(conn)?)
        })
        .await
    }

    /// Names of workers that went without a word and have been silent for so long, with the seconds since then. One
    /// that was started again under its name is not among them.
    pub async fn stale_workers(&self, silence: Duration) -> Result<Vec<(String, i64)>, StoreError> {
        let silence = i64::try_from(silence.as_millis()).unwrap_or(i64::MAX);
        self.run(move |conn| {
            let rows: Vec<StaleRow> = sql_query(
                "SELECT name, extract(epoch FROM clock_timestamp() - last_seen)::bigint AS seconds
                 FROM (SELECT DISTINCT ON (name) name, last_seen, stopped_at FROM workers
                       ORDER BY name, last_seen DESC) AS latest
                 WHERE stopped_at IS NULL AND last_seen < clock_timestamp() - $1 * interval '1 ms'
                 ORDER BY name LIMIT 100",
            )
            .bind::<BigInt, _>(silence)
            .load(conn)?;
            Ok(rows.into_iter().map(|row| (row.name, row.seconds)).collect())
        })
        .await
    }

    /// Whether a worker that owns containers on this host may still be alive: it has neither stopped
    /// nor been silent for `silence`. A worker that nobody knows is not alive.
    pub async fn worker_may_be_alive(&self, id: &WorkerId, silence: Duration) -> Result<bool, StoreError> {
        let id = id.clone();
        let silence = i64::try_from(silence.as_millis()).unwrap_or(i64::MAX);
        self.run(move |conn| {
            let rows: Vec<TextRow> = sql_query(
                "SELECT id AS text FROM workers WHERE id = $1 AND stopped_at IS NULL
                 AND last_seen > clock_timestamp() - $2 * interval '1 ms'",
            )
            .bind::<Text, _>(id.as_str())
            .bind::<BigInt, _>(silence)
            .load(conn)?;
            Ok(!rows.is_empty())
        })
        .await
    }

    /// The worker that owns this running attempt, if it runs.
    pub async fn running_claim(
        &self,
        execution: &ExecutionId,
        attempt: i32,
    ) -> Result<Option<Claim>, StoreError> {
        let execution = execution.clone();
        self.run(move |conn| {
            let rows: Vec<TextRow> = sql_query(
                "SELECT worker_id AS text FROM executions
                 WHERE id = $1 AND attempt = $2 AND status = 'running'",
            )
            .bind::<Text, _>(execution.as_str())
            .bind::<Integer, _>(attempt)
            .load(conn)?;
            Ok(rows.into_iter().next().map(|row| Claim {
                execution,
                attempt,
                worker: WorkerId::from_stored(row.text),
            }))
        })
        .await
    }
}

/// A worker of a version that knows no labels would run anything anywhere. It can't be started any more (its schema is
/// older than this one), so it is waited for until the upgrade is through.
pub(crate) fn all_know_labels(conn: &mut PgConnection) -> Result<(), StoreError> {
    let older = "SELECT name AS text FROM workers WHERE labels IS NULL AND stopped_at IS NULL
        AND last_seen > clock_timestamp() - interval '1 min' ORDER BY name LIMIT 1";
    let rows: Vec<TextRow> = sql_query(older).load(conn)?;
    let Some(row) = rows.into_iter().next() else { return Ok(()) };
    Err(StoreError::Conflict(format!(
        "worker {} is of an older version and would not look at `on`; submit it again when all workers are upgraded",
        row.text
    )))
}

#[derive(QueryableByName)]
struct StaleRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    seconds: i64,
}

#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = Text)]
    text: String,
}
