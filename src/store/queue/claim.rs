//! Claiming executions and keeping the claims: claim, heartbeat, adopt.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::{count_star, exists, min, select};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Jsonb, Nullable, Text};

use crate::execution::{Claim, Claimed, EnvVars, ExecutionId, KeyId, LabelSets, WorkerId};
use crate::metrics::{self, METRICS};
use crate::store::executions::progress::all_chunks;
use crate::store::schema::{blobs, execution_files, executions};
use crate::store::sql::{clock_timestamp, elapsed, from_now, millis, statement};
use crate::store::{Chunk, Result, Store, executions::files::role, notify::Notification, queue::claimed_row};

/// Claims the execution at the head of the queue: the highest priority, then one of each key in turn (`take_a_turn` in
/// the migrations), then the oldest.
///
/// SQL text: `SKIP LOCKED` in a common table expression lets concurrent workers claim different rows in one round trip.
/// Turn 0 puts an execution that is given back at the head.
pub const CLAIM: &str = "
    WITH next AS (
        SELECT id FROM executions WHERE status = 'queued' AND on_labels = $5
        ORDER BY - priority, turn, created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
    UPDATE executions e
    SET status = 'running', attempt = attempt + 1, worker_id = $2, worker_name = $3, installing = false, turn = 0,
        started_at = clock_timestamp(), lease_until = clock_timestamp() + $4 * interval '1 ms'
    FROM next WHERE e.id = next.id
    RETURNING e.id, e.attempt, e.runtime, e.script_name, e.args, e.env, e.secrets, e.requirements, e.timeout_ms,
        e.memory_bytes, e.cpus_milli, e.network, e.key_id,
        (extract(epoch FROM clock_timestamp() - e.created_at) * 1000)::bigint AS waited_ms,
        (SELECT b.content FROM execution_files f JOIN blobs b USING (sha256)
         WHERE f.execution_id = e.id AND f.role = 'script') AS script,
        EXISTS (SELECT FROM execution_files f WHERE f.execution_id = e.id AND f.role = 'input') AS has_inputs";

/// The largest number of executions in one claim.
pub const CLAIM_MOST: usize = 8;

/// The same for a worker with labels. It looks at the head of the queue of each label set that the worker satisfies to
/// decide how many to take from which, and locks only what it takes, because others skip locked rows. The last LIMIT
/// gives the planner the sum of the others.
pub const CLAIM_AMONG: &str = "
    WITH best AS (
        SELECT on_labels, count(*) AS count FROM (
            SELECT head.* FROM unnest($5::jsonb[]) AS worker (label_set) CROSS JOIN LATERAL (
                SELECT on_labels, priority, turn, created_at, id FROM executions
                WHERE status = 'queued' AND on_labels = worker.label_set
                ORDER BY - priority, turn, created_at, id LIMIT $1) AS head
            ORDER BY - priority, turn, created_at, id LIMIT $1) AS heads
        GROUP BY on_labels),
    next AS (
        SELECT taken.id FROM best CROSS JOIN LATERAL (
            SELECT id FROM executions WHERE status = 'queued' AND on_labels = best.on_labels
            ORDER BY - priority, turn, created_at, id LIMIT best.count FOR UPDATE SKIP LOCKED) AS taken
        LIMIT $1)
    UPDATE executions e
    SET status = 'running', attempt = attempt + 1, worker_id = $2, worker_name = $3, installing = false, turn = 0,
        started_at = clock_timestamp(), lease_until = clock_timestamp() + $4 * interval '1 ms'
    FROM next WHERE e.id = next.id
    RETURNING e.id, e.attempt, e.runtime, e.script_name, e.args, e.env, e.secrets, e.requirements, e.timeout_ms,
        e.memory_bytes, e.cpus_milli, e.network, e.key_id,
        (extract(epoch FROM clock_timestamp() - e.created_at) * 1000)::bigint AS waited_ms,
        (SELECT b.content FROM execution_files f JOIN blobs b USING (sha256)
         WHERE f.execution_id = e.id AND f.role = 'script') AS script,
        EXISTS (SELECT FROM execution_files f WHERE f.execution_id = e.id AND f.role = 'input') AS has_inputs";

/// The statements for one set of executions.
struct ClaimTexts {
    /// [`CLAIM`] for each count. With a literal LIMIT, Postgres keeps the plan; with a parameter it plans each claim of
    /// a long queue anew, which takes as long as the claim itself.
    by_count: Vec<String>,
    among: String,
}

static ALL: LazyLock<ClaimTexts> = LazyLock::new(|| ClaimTexts::where_queued(""));
/// Texts of their own, because a condition in the usual ones would cost them their plan. Installing requirements needs
/// the network too.
static WITHOUT_NETWORK: LazyLock<ClaimTexts> =
    LazyLock::new(|| ClaimTexts::where_queued(" AND NOT network AND requirements IS NULL"));

impl ClaimTexts {
    fn where_queued(condition: &str) -> Self {
        let [plain, among] = [CLAIM, CLAIM_AMONG]
            .map(|text| text.replace("status = 'queued'", &format!("status = 'queued'{condition}")));
        let with_limit = |count| plain.replacen("LIMIT 1 ", &format!("LIMIT {count} "), 1);
        Self { by_count: (1..=CLAIM_MOST).map(with_limit).collect(), among }
    }

    fn plain(&self, count: usize) -> &str {
        self.by_count.get(count.clamp(1, CLAIM_MOST) - 1).map_or(CLAIM, String::as_str)
    }
}

/// The database's view of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimStatus {
    pub execution: ExecutionId,
    pub attempt: i32,
    pub cancel_requested: bool,
}

const CLAIM_STATUS: (executions::id, executions::attempt, executions::cancel_requested) =
    (executions::id, executions::attempt, executions::cancel_requested);

fn claim_status((id, attempt, cancel_requested): (String, i32, bool)) -> ClaimStatus {
    ClaimStatus { execution: ExecutionId::from_stored(id), attempt, cancel_requested }
}

#[derive(Debug, Clone, Copy)]
pub struct QueueDepth {
    pub queued: i64,
    /// Time that the oldest queued execution has waited.
    pub oldest_ms: i64,
}

impl Store {
    /// Claims up to `count` executions, at most [`CLAIM_MOST`], whose labels the worker satisfies, in queue order.
    ///
    /// With labels it may return fewer although more wait, when others claim at the same moment; call it again.
    pub async fn claim(
        &self,
        worker: &WorkerId,
        worker_name: &str,
        labels: &LabelSets,
        count: usize,
        lease: Duration,
    ) -> Result<Vec<Claimed>> {
        self.claim_with(&ALL, (worker, worker_name), labels, count, lease).await
    }

    /// The same, but only executions that never need the network.
    pub async fn claim_without_network(
        &self,
        worker: &WorkerId,
        worker_name: &str,
        labels: &LabelSets,
        count: usize,
        lease: Duration,
    ) -> Result<Vec<Claimed>> {
        self.claim_with(&WITHOUT_NETWORK, (worker, worker_name), labels, count, lease).await
    }

    async fn claim_with(
        &self,
        texts: &'static ClaimTexts,
        (worker, worker_name): (&WorkerId, &str),
        labels: &LabelSets,
        count: usize,
        lease: Duration,
    ) -> Result<Vec<Claimed>> {
        let (worker, name, plain) = (worker.clone(), worker_name.to_owned(), labels.is_plain());
        let sets: Vec<serde_json::Value> = labels.sets().iter().map(|set| serde_json::json!(set)).collect();
        let claimed: Vec<Claimed> = self
            .run(move |conn| {
                let claim = statement(if plain { texts.plain(count) } else { &texts.among })
                    .bind::<BigInt, _>(count as i64)
                    .bind::<Text, _>(worker.as_str())
                    .bind::<Text, _>(name)
                    .bind::<BigInt, _>(millis(lease));
                let rows: Vec<ClaimedRow> = match plain {
                    true => claim.bind::<Jsonb, _>(serde_json::json!({})).load(conn)?,
                    false => claim.bind::<Array<Jsonb>, _>(sets).load(conn)?,
                };
                rows.into_iter().map(|row| row.into_claimed(&worker)).collect()
            })
            .await?;
        for Claimed { claim, waited, .. } in &claimed {
            metrics::phase("queued", Some(*waited));
            METRICS.claims.add(&[], 1);
            self.notifier.publish(Notification::Changed(claim.execution.clone()));
        }
        Ok(claimed)
    }

    /// Extends the leases of these claims. Claims that are missing in the reply are lost.
    ///
    /// Only the claims that the worker names are extended: if the reply to a claim got lost, its lease runs out and the
    /// execution is rescued.
    pub async fn heartbeat(
        &self,
        worker: &WorkerId,
        claims: &[Claim],
        lease: Duration,
    ) -> Result<Vec<ClaimStatus>> {
        let jobs: Vec<String> = claims.iter().map(Claim::job_id).collect();
        let job = executions::id.concat("/").concat(executions::attempt.cast::<Text>());
        // The id alone serves the index; both name the attempt.
        let claimed = running_on(worker, claims).filter(job.eq_any(jobs));
        let extended = diesel::update(claimed).set(executions::lease_until.eq(from_now(lease).nullable()));
        let rows = self.load(extended.returning(CLAIM_STATUS)).await?;
        Ok(rows.into_iter().map(claim_status).collect())
    }

    /// The claims among these that are still valid. Reads only, so it may run more often than the heartbeat.
    pub async fn claim_statuses(&self, worker: &WorkerId, claims: &[Claim]) -> Result<Vec<ClaimStatus>> {
        let rows = self.load(running_on(worker, claims).select(CLAIM_STATUS)).await?;
        let statuses = rows.into_iter().map(claim_status);
        let is_known = |status: &ClaimStatus| {
            claims.iter().any(|c| c.execution == status.execution && c.attempt == status.attempt)
        };
        Ok(statuses.filter(is_known).collect())
    }

    /// Takes over a running attempt from a dead worker on this host, with its stored output. None if another worker
    /// was faster.
    ///
    /// The attempt number stays, because the script keeps running in its sandbox. The claim changes hands before the
    /// output is read, so nothing is appended afterwards.
    pub async fn adopt(
        &self,
        abandoned: &Claim,
        worker: &WorkerId,
        worker_name: &str,
        lease: Duration,
    ) -> Result<Option<(Claimed, Vec<Chunk>)>> {
        let (abandoned, worker, name) = (abandoned.clone(), worker.clone(), worker_name.to_owned());
        self.transaction(move |conn| {
            let job: Option<JobRow> = diesel::update(claimed_row(&abandoned))
                .set((
                    executions::worker_id.eq(worker.as_str()),
                    executions::worker_name.eq(name),
                    executions::lease_until.eq(from_now(lease).nullable()),
                ))
                .returning(JobRow::as_returning())
                .get_result(conn)
                .optional()?;
            let Some(job) = job else { return Ok(None) };
            let files = execution_files::table.filter(execution_files::execution_id.eq(job.id.clone()));
            let script = files.clone().filter(execution_files::role.eq(role::SCRIPT));
            let script = script.inner_join(blobs::table).select(blobs::content).first(conn).optional()?;
            let inputs = files.filter(execution_files::role.eq(role::INPUT));
            let has_inputs = select(exists(inputs)).get_result(conn)?;
            let row = ClaimedRow { job, waited_ms: 0, script, has_inputs };
            Ok(Some((row.into_claimed(&worker)?, all_chunks(conn, &abandoned)?)))
        })
        .await
    }

    /// How many executions of each key are queued.
    pub async fn queued_by_key(&self) -> Result<HashMap<KeyId, u64>> {
        let queued = executions::table.filter(executions::status.eq("queued"));
        let by_key = queued.filter(executions::key_id.is_not_null()).group_by(executions::key_id);
        let counts: Vec<(Option<String>, i64)> =
            self.load(by_key.select((executions::key_id, count_star()))).await?;
        let counts = counts.into_iter();
        Ok(counts.filter_map(|(key, count)| Some((KeyId::from_stored(key?), count.unsigned_abs()))).collect())
    }

    pub async fn queue_depth(&self) -> Result<QueueDepth> {
        let queued = executions::table.filter(executions::status.eq("queued"));
        let depth = queued.select((count_star(), min(executions::created_at), clock_timestamp()));
        let (queued, oldest, now): (i64, Option<DateTime<Utc>>, DateTime<Utc>) = self.get(depth).await?;
        Ok(QueueDepth { queued, oldest_ms: oldest.map_or(0, |oldest| millis(elapsed(oldest, now))) })
    }
}

#[diesel::dsl::auto_type]
fn running_on(worker: &WorkerId, claims: &[Claim]) -> _ {
    let ids: Vec<String> = claims.iter().map(|claim| claim.execution.to_string()).collect();
    let worker: String = worker.to_string();
    executions::table
        .filter(executions::id.eq_any(ids))
        .filter(executions::worker_id.eq(worker))
        .filter(executions::status.eq("running"))
}

#[derive(Queryable, Selectable, QueryableByName)]
#[diesel(table_name = executions, check_for_backend(diesel::pg::Pg))]
struct JobRow {
    id: String,
    attempt: i32,
    runtime: String,
    script_name: String,
    args: serde_json::Value,
    env: serde_json::Value,
    secrets: Option<serde_json::Value>,
    requirements: Option<String>,
    timeout_ms: i64,
    memory_bytes: i64,
    cpus_milli: i32,
    network: bool,
    key_id: Option<String>,
}

#[derive(QueryableByName)]
struct ClaimedRow {
    #[diesel(embed)]
    job: JobRow,
    #[diesel(sql_type = BigInt)]
    waited_ms: i64,
    #[diesel(sql_type = Nullable<Binary>)]
    script: Option<Vec<u8>>,
    #[diesel(sql_type = Bool)]
    has_inputs: bool,
}

impl ClaimedRow {
    fn into_claimed(self, worker: &WorkerId) -> Result<Claimed> {
        let Self { job, waited_ms, script, has_inputs } = self;
        Ok(Claimed {
            claim: Claim {
                execution: ExecutionId::from_stored(job.id),
                attempt: job.attempt,
                worker: worker.clone(),
            },
            runtime: job.runtime,
            script_name: job.script_name,
            script: script.unwrap_or_default(),
            args: serde_json::from_value(job.args)?,
            env: EnvVars(serde_json::from_value(job.env)?),
            secrets: EnvVars(job.secrets.map(serde_json::from_value).transpose()?.unwrap_or_default()),
            requirements: job.requirements,
            timeout: Duration::from_millis(job.timeout_ms.unsigned_abs()),
            memory_bytes: job.memory_bytes.unsigned_abs(),
            cpus_milli: job.cpus_milli.unsigned_abs(),
            network: job.network,
            has_inputs,
            owner: job.key_id.map(KeyId::from_stored),
            waited: Duration::from_millis(waited_ms.max(0).unsigned_abs()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_has_a_text_of_its_own_with_a_literal_limit() {
        for (count, limit) in [(0, 1), (1, 1), (2, 2), (8, 8), (9, 8)] {
            for texts in [&*ALL, &*WITHOUT_NETWORK] {
                assert!(texts.plain(count).contains(&format!("LIMIT {limit} FOR UPDATE")), "{count}");
            }
        }
        assert_eq!((ALL.plain(1), ALL.among.as_str()), (CLAIM, CLAIM_AMONG));
        assert_eq!(WITHOUT_NETWORK.plain(1).matches("NOT network").count(), 1);
        assert_eq!(WITHOUT_NETWORK.among.matches("NOT network").count(), 2);
    }
}
