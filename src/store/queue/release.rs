//! Giving back: what moves an execution from `running` to `queued` again, or ends it when it may not begin once more.
//!
//! A beginning counts from its script's start on. What is given back before that has not run, and keeps its attempts.

use std::time::Duration;

use diesel::RunQueryDsl;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Integer, Text};

use crate::execution::{Claim, ExecutionId, WorkerId};
use crate::metrics::METRICS;
use crate::store::notify::Notification;
use crate::store::queue::claim::{keys, millis};
use crate::store::queue::rows::RescueRow;
use crate::store::statement::statement;
use crate::store::{Store, StoreError};

/// Gives back, or ends as lost, what the common table `expired` names with what it `becomes`; `$words` is what
/// befell the worker. What had been said so far is kept with an end. (The chunks are read in the state before this
/// statement, so it may delete them itself.)
macro_rules! give_back {
    ($expired:literal, $words:literal) => {
        concat!("
    WITH expired AS (", $expired, "),
    said AS (
        SELECT c.execution_id AS id,
            coalesce(string_agg(text, '' ORDER BY seq) FILTER (WHERE stream = 'stdout'), '') AS stdout,
            coalesce(string_agg(text, '' ORDER BY seq) FILTER (WHERE stream = 'stderr'), '') AS stderr,
            coalesce(string_agg(text, '' ORDER BY seq) FILTER (WHERE stream = 'install'), '') AS install
        FROM output_chunks c JOIN expired ON expired.id = c.execution_id WHERE becomes <> 'queued'
        GROUP BY c.execution_id),
    gone AS (DELETE FROM output_chunks c USING expired WHERE c.execution_id = expired.id)
    UPDATE executions e
    SET status = becomes, released = released + CASE WHEN installing AND becomes = 'queued' THEN 1 ELSE 0 END,
        failure_kind = CASE becomes WHEN 'failed' THEN 'lost' END,
        execution_error = CASE becomes WHEN 'failed' THEN
            'worker ' || worker_name || ' ", $words, " while the script ran (attempt ' || attempt - released
            || ' of ' || max_attempts || '); submit it again, or allow more with --max-attempts' END,
        completed_at = CASE WHEN becomes <> 'queued' THEN clock_timestamp() END,
        started_at = CASE WHEN becomes <> 'queued' THEN started_at END,
        worker_name = CASE WHEN becomes <> 'queued' THEN worker_name END,
        worker_id = NULL, lease_until = NULL,
        secrets = CASE becomes WHEN 'queued' THEN secrets END,
        stdout = coalesce(said.stdout, ''), stdout_bytes = coalesce(octet_length(said.stdout), 0),
        stderr = coalesce(said.stderr, ''), stderr_bytes = coalesce(octet_length(said.stderr), 0),
        install_output = coalesce(said.install, '')
    FROM expired LEFT JOIN said ON said.id = expired.id WHERE e.id = expired.id
    RETURNING e.id, e.attempt, e.status")
    };
}

/// Of one whose script has not begun: back to the head of the queue; the attempt doesn't count. One that was to be
/// cancelled ends here. What it said goes only with the claim: where that is lost, another attempt may have said
/// something by now.
const RELEASE: &str = "
    WITH back AS (
    UPDATE executions
    SET status = CASE WHEN cancel_requested THEN 'cancelled' ELSE 'queued' END,
        completed_at = CASE WHEN cancel_requested THEN clock_timestamp() END,
        released = released + 1, worker_id = NULL, worker_name = NULL, lease_until = NULL,
        started_at = NULL, secrets = CASE WHEN NOT cancel_requested THEN secrets END
    WHERE id = $1 AND attempt = $2 AND worker_id = $3 AND status = 'running' RETURNING id, attempt, status),
    gone AS (DELETE FROM output_chunks c USING back WHERE c.execution_id = back.id)
    SELECT id, attempt, status FROM back";

/// Of one whose script has begun: it is run again only where it may begin once more.
const GIVE_UP: &str = give_back!(
    "
        SELECT id, CASE WHEN cancel_requested THEN 'cancelled' WHEN attempt - released < max_attempts THEN 'queued'
                        ELSE 'failed' END AS becomes
        FROM executions WHERE id = $1 AND attempt = $2 AND worker_id = $3 AND status = 'running' FOR UPDATE",
    "was stopped, and its worker.drain_timeout passed,"
);

/// ActiveClaims whose lease has run out: nobody can know what became of them. With attempts left they are
/// queued again; otherwise they end as lost, with what they had said so far. One that was still installing
/// its requirements has not run, so it does not count.
/// After a restart of Postgres all workers get half a lease to say that they live.
const RESCUE: &str = give_back!(
    "
        SELECT id, CASE WHEN cancel_requested THEN 'cancelled'
                        WHEN installing OR attempt - released < max_attempts THEN 'queued'
                        ELSE 'failed' END AS becomes
        FROM executions WHERE status = 'running' AND lease_until < clock_timestamp()
            AND pg_postmaster_start_time() < clock_timestamp() - $1 * interval '1 ms'
        ORDER BY lease_until LIMIT 200 FOR UPDATE SKIP LOCKED",
    "was lost"
);

/// Workers that are gone for certain, and whose sandboxes have all been looked at: nobody waits for the rest of
/// their leases.
const EXPIRE: &str = "
    UPDATE executions SET lease_until = clock_timestamp()
    WHERE worker_id = ANY ($1) AND status = 'running' AND lease_until > clock_timestamp()";

/// What this worker owns without knowing: the answer to a claim got lost on its way. Nothing of it has run, so it
/// goes back to its place, and the attempt doesn't count. `$2` is everything that the worker knows of. One that has
/// said something has run, however it was forgotten: it is left to its lease.
const DISOWN: &str = "
    UPDATE executions
    SET status = CASE WHEN cancel_requested THEN 'cancelled' ELSE 'queued' END,
        completed_at = CASE WHEN cancel_requested THEN clock_timestamp() END,
        released = released + 1, worker_id = NULL, worker_name = NULL, lease_until = NULL,
        started_at = NULL, secrets = CASE WHEN NOT cancel_requested THEN secrets END
    WHERE worker_id = $1 AND status = 'running' AND id <> ALL ($2)
        AND NOT EXISTS (SELECT FROM output_chunks c WHERE c.execution_id = executions.id AND c.attempt = executions.attempt)
    RETURNING id, attempt, status";

/// What became of a claim whose lease had run out.
#[derive(Debug, Clone)]
pub struct ReleasedClaim {
    pub execution: ExecutionId,
    pub attempt: i32,
    /// `queued`, `failed` or `cancelled`.
    pub status: String,
}

impl Store {
    /// Gives a claim back unfinished; `begun` when its script may have begun, which counts. A claim that is lost
    /// already is no error. Tells what it became; none when it was not this one's.
    pub async fn release(&self, claim: &Claim, begun: bool) -> Result<Option<ReleasedClaim>, StoreError> {
        let claim = claim.clone();
        let released = self
            .run(move |conn| {
                let rows: Vec<RescueRow> = statement(if begun { GIVE_UP } else { RELEASE })
                    .bind::<Text, _>(claim.execution.as_str())
                    .bind::<Integer, _>(claim.attempt)
                    .bind::<Text, _>(claim.worker.as_str())
                    .load(conn)?;
                Ok(rows.into_iter().next().map(ReleasedClaim::from))
            })
            .await?;
        if let Some(one) = &released {
            METRICS.releases.add(&[], 1);
            self.tell_of(one);
        }
        Ok(released)
    }

    pub async fn rescue(&self, lease: Duration) -> Result<Vec<ReleasedClaim>, StoreError> {
        let rescued: Vec<ReleasedClaim> = self
            .run(move |conn| {
                let rows: Vec<RescueRow> =
                    statement(RESCUE).bind::<BigInt, _>(millis(lease / 2)).load(conn)?;
                Ok(rows.into_iter().map(ReleasedClaim::from).collect())
            })
            .await?;
        for one in &rescued {
            METRICS.rescues.add(&[&one.status], 1);
            self.tell_of(one);
        }
        Ok(rescued)
    }

    fn tell_of(&self, one: &ReleasedClaim) {
        self.news.publish(match one.status.as_str() {
            "queued" => Notification::Queued,
            _ => Notification::Ended(one.execution.clone()),
        });
        self.news.publish(Notification::Changed(one.execution.clone()));
    }

    /// Gives back what this worker owns though it knows of `known` alone. Only while no claim is under way.
    pub async fn release_unknown(
        &self,
        worker: &WorkerId,
        known: &[Claim],
    ) -> Result<Vec<ReleasedClaim>, StoreError> {
        let (ids, _) = keys(known);
        let worker = worker.clone();
        self.run(move |conn| {
            let rows: Vec<RescueRow> =
                sql_query(DISOWN).bind::<Text, _>(worker.as_str()).bind::<Array<Text>, _>(ids).load(conn)?;
            Ok(rows.into_iter().map(ReleasedClaim::from).collect())
        })
        .await
    }

    /// Lets the leases of workers end that are gone for certain; returns how many.
    pub async fn expire_leases(&self, workers: &[WorkerId]) -> Result<usize, StoreError> {
        let workers: Vec<String> = workers.iter().map(|worker| worker.as_str().to_owned()).collect();
        self.run(move |conn| Ok(sql_query(EXPIRE).bind::<Array<Text>, _>(workers).execute(conn)?)).await
    }
}
