//! The queue: claim, keep, take over. What moves an execution back from `running` to `queued` is in
//! `giving_back.rs`; `recording.rs` has the statement that ends it.
//!
//! Leases and times are by the database's clock alone; no statement takes a time from a worker.

use std::time::Duration;

use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Integer, Jsonb, Text};
use diesel::{Connection, RunQueryDsl};

use crate::execution::{Claim, Claimed, ExecutionId, LabelSets, WorkerId};
use crate::metrics::{self, METRICS};
use crate::store::executions::outputs::chunks;
use crate::store::notify::Notification;
use crate::store::queue::rows::{ClaimedRow, PulseRow};
use crate::store::statement::statement;
use crate::store::{Chunk, Store, StoreError};

/// What a worker is told of an execution `e` that it is to run.
macro_rules! claimed {
    ($waited:literal) => {
        concat!(
            "RETURNING e.id, e.attempt, e.runtime, e.script_name, e.args, e.env, e.secrets, e.requirements, e.timeout_ms,
        e.memory_bytes, e.cpus_milli, e.network, e.key_id, ",
            $waited,
            " AS waited_ms,
        (SELECT b.content FROM execution_files f JOIN blobs b USING (sha256)
         WHERE f.execution_id = e.id AND f.role = 'script') AS script,
        EXISTS (SELECT FROM execution_files f WHERE f.execution_id = e.id AND f.role = 'input') AS has_inputs"
        )
    };
}

/// What is claimed, given the common table `next` of ids. From now on it has had its turn: given back, it is first.
macro_rules! claim {
    ($($next:literal),+) => {
        concat!("WITH ", $($next),+, "
    UPDATE executions e
    SET status = 'running', attempt = attempt + 1, worker_id = $2, worker_name = $3, installing = false, turn = 0,
        started_at = clock_timestamp(), lease_until = clock_timestamp() + $4 * interval '1 ms'
    FROM next WHERE e.id = next.id
    ", claimed!("(extract(epoch FROM clock_timestamp() - e.created_at) * 1000)::bigint"))
    };
}

/// The most urgent first, of these one of each key in turn (`take_a_turn` in the migrations), the oldest first.
/// `SKIP LOCKED`: workers that claim at once take different rows instead of waiting.
macro_rules! claim_first {
    ($count:literal) => {
        claim!(
            "next AS (
        SELECT id FROM executions WHERE status = 'queued' AND on_labels = $5
        ORDER BY - priority, turn, created_at, id LIMIT ",
            $count,
            " FOR UPDATE SKIP LOCKED)"
        )
    };
}

/// One, which is what a worker under load asks for.
pub(crate) const CLAIM: &str = claim_first!("1");

/// So many at once, at most. A text for each count: with a number in its place Postgres keeps the plan; with a
/// parameter it plans each claim of a long queue anew, which takes as long as the claim.
pub const CLAIM_MOST: usize = 8;

const fn claim_some(count: usize) -> &'static str {
    match count {
        0 | 1 => CLAIM,
        2 => claim_first!("2"),
        3 => claim_first!("3"),
        4 => claim_first!("4"),
        5 => claim_first!("5"),
        6 => claim_first!("6"),
        7 => claim_first!("7"),
        CLAIM_MOST.. => claim_first!("8"),
    }
}

/// For a worker with labels: a look at the head of each queue that it fits tells how many to take from which. Only what
/// is taken is locked, since others would skip what is locked and find nothing. The last LIMIT is for the planner,
/// which can't know the sum of the others.
pub(crate) const CLAIM_AMONG: &str = claim!(
    "best AS (
        SELECT on_labels, count(*) AS count FROM (
            SELECT head.* FROM unnest($5::jsonb[]) AS offer (fits) CROSS JOIN LATERAL (
                SELECT on_labels, priority, turn, created_at, id FROM executions
                WHERE status = 'queued' AND on_labels = offer.fits
                ORDER BY - priority, turn, created_at, id LIMIT $1) AS head
            ORDER BY - priority, turn, created_at, id LIMIT $1) AS heads
        GROUP BY on_labels),
    next AS (
        SELECT taken.id FROM best CROSS JOIN LATERAL (
            SELECT id FROM executions WHERE status = 'queued' AND on_labels = best.on_labels
            ORDER BY - priority, turn, created_at, id LIMIT best.count FOR UPDATE SKIP LOCKED) AS taken
        LIMIT $1)"
);

/// Only claims that the worker names are kept: one whose answer got lost on the way to the worker
/// is kept by nobody, so its lease runs out and it is rescued.
const HEARTBEAT: &str = "
    UPDATE executions e SET lease_until = clock_timestamp() + $4 * interval '1 ms'
    FROM unnest($1::text[], $2::int[]) AS mine (id, attempt)
    WHERE e.id = mine.id AND e.attempt = mine.attempt AND e.worker_id = $3 AND e.status = 'running'
    RETURNING e.id, e.attempt, e.cancel_requested";

/// The same look without the write, for what must be known sooner than the next heartbeat.
const PULSES: &str = "
    SELECT e.id, e.attempt, e.cancel_requested
    FROM executions e JOIN unnest($1::text[], $2::int[]) AS mine (id, attempt)
        ON e.id = mine.id AND e.attempt = mine.attempt
    WHERE e.worker_id = $3 AND e.status = 'running'";

/// A worker that starts again takes over what its dead predecessor on this host still runs. The
/// attempt stays: it is the same run, in the same sandbox. No row: somebody else was faster.
const ADOPT: &str = concat!(
    "UPDATE executions e SET worker_id = $3, worker_name = $4,
        lease_until = clock_timestamp() + $5 * interval '1 ms'
    WHERE id = $1 AND attempt = $2 AND status = 'running' AND worker_id = $6
    ",
    claimed!("0::bigint")
);

const DEPTH: &str = "
    SELECT count(*) AS queued,
        coalesce((extract(epoch FROM clock_timestamp() - min(created_at)) * 1000)::bigint, 0) AS oldest_ms
    FROM executions WHERE status = 'queued'";

/// What the database says of a claim that a worker asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimStatus {
    pub execution: ExecutionId,
    pub attempt: i32,
    pub cancel_requested: bool,
}

#[derive(Debug, Clone, Copy, diesel::QueryableByName)]
pub struct QueueDepth {
    #[diesel(sql_type = BigInt)]
    pub queued: i64,
    /// How long the first in the queue has waited.
    #[diesel(sql_type = BigInt)]
    pub oldest_ms: i64,
}

impl Store {
    /// Takes up to `count` executions, [`CLAIM_MOST`] at most, that this offer fits, in the order of the queue.
    ///
    /// With labels it may be fewer though more wait, when others take some at the same moment: ask once more.
    pub async fn claim(
        &self,
        worker: &WorkerId,
        worker_name: &str,
        offer: &LabelSets,
        count: usize,
        lease: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        let (worker, name, plain) = (worker.clone(), worker_name.to_owned(), offer.is_plain());
        let sets: Vec<serde_json::Value> = offer.sets().iter().map(|set| serde_json::json!(set)).collect();
        self.run(move |conn| {
            let text = if plain { claim_some(count) } else { CLAIM_AMONG };
            let claim = statement(text)
                .bind::<BigInt, _>(count as i64)
                .bind::<Text, _>(worker.as_str())
                .bind::<Text, _>(name)
                .bind::<BigInt, _>(millis(lease));
            let rows: Vec<ClaimedRow> = match plain {
                true => claim.bind::<Jsonb, _>(serde_json::json!({})).load(conn)?,
                false => claim.bind::<Array<Jsonb>, _>(sets).load(conn)?,
            };
            rows.into_iter().map(|row| row.into_claimed(&worker)).collect::<Result<Vec<_>, _>>()
        })
        .await
        .inspect(|claimed| self.tell_claimed(claimed))
    }

    fn tell_claimed(&self, claimed: &[Claimed]) {
        for Claimed { claim, waited, .. } in claimed {
            metrics::phase("queued", Some(*waited));
            METRICS.claims.add(&[], 1);
            self.news.publish(Notification::Changed(claim.execution.clone()));
        }
    }

    /// Extends the leases of these claims; those that are missing in the answer are lost.
    pub async fn heartbeat(
        &self,
        worker: &WorkerId,
        claims: &[Claim],
        lease: Duration,
    ) -> Result<Vec<ClaimStatus>, StoreError> {
        let (ids, attempts) = keys(claims);
        let worker = worker.clone();
        self.run(move |conn| {
            let rows: Vec<PulseRow> = statement(HEARTBEAT)
                .bind::<Array<Text>, _>(ids)
                .bind::<Array<Integer>, _>(attempts)
                .bind::<Text, _>(worker.as_str())
                .bind::<BigInt, _>(millis(lease))
                .load(conn)?;
            Ok(rows.into_iter().map(ClaimStatus::from).collect())
        })
        .await
    }

    /// Which of these claims are still owned, and which are to be cancelled.
    pub async fn claim_statuses(
        &self,
        worker: &WorkerId,
        claims: &[Claim],
    ) -> Result<Vec<ClaimStatus>, StoreError> {
        let (ids, attempts) = keys(claims);
        let worker = worker.clone();
        self.run(move |conn| {
            let rows: Vec<PulseRow> = statement(PULSES)
                .bind::<Array<Text>, _>(ids)
                .bind::<Array<Integer>, _>(attempts)
                .bind::<Text, _>(worker.as_str())
                .load(conn)?;
            Ok(rows.into_iter().map(ClaimStatus::from).collect())
        })
        .await
    }

    /// Takes over a running attempt from a worker that is gone, with what is stored of it; none when it is not its
    /// any more. Both or nothing, and the claim first: from then on nobody adds to what is stored.
    pub async fn adopt(
        &self,
        abandoned: &Claim,
        worker: &WorkerId,
        worker_name: &str,
        lease: Duration,
    ) -> Result<Option<(Claimed, Vec<Chunk>)>, StoreError> {
        let (abandoned, worker, name) = (abandoned.clone(), worker.clone(), worker_name.to_owned());
        self.run(move |conn| {
            conn.transaction(|conn| {
                let rows: Vec<ClaimedRow> = sql_query(ADOPT)
                    .bind::<Text, _>(abandoned.execution.as_str())
                    .bind::<Integer, _>(abandoned.attempt)
                    .bind::<Text, _>(worker.as_str())
                    .bind::<Text, _>(name)
                    .bind::<BigInt, _>(millis(lease))
                    .bind::<Text, _>(abandoned.worker.as_str())
                    .load(conn)?;
                let Some(row) = rows.into_iter().next() else { return Ok(None) };
                Ok(Some((row.into_claimed(&worker)?, chunks(conn, &abandoned)?)))
            })
        })
        .await
    }

    pub async fn queue_depth(&self) -> Result<QueueDepth, StoreError> {
        self.run(|conn| Ok(sql_query(DEPTH).get_result(conn)?)).await
    }
}

pub(crate) fn keys(claims: &[Claim]) -> (Vec<String>, Vec<i32>) {
    claims.iter().map(|claim| (claim.execution.as_str().to_owned(), claim.attempt)).unzip()
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
