//! Ending a claim before its script has ended: the execution returns to the queue, or ends.
//!
//! An attempt counts from the start of its script. A claim that ends earlier is not counted (`released`).

use std::time::Duration;

use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel::sql_types::{Array, Bool, Nullable, Text};
use rgrid_api::{FailureKind, Status};

use crate::execution::{Claim, ExecutionId, ReleaseReason, WorkerId};
use crate::metrics::METRICS;
use crate::store::schema::{executions, output_chunks};
use crate::store::sql::{ago, clock_timestamp, pg_postmaster_start_time, statement};
use crate::store::{Result, Store, notify::Notification, queue::claimed_row};

/// The most claims that one call rescues.
const RESCUE_BATCH: i64 = 200;

/// Gives the executions `$1` the statuses `$2`. `$3`: whether the attempt counts. `$4` and `$5`: kinds and
/// reasons of failures.
///
/// SQL text: it folds the chunks of executions that end into their rows without moving the output through the daemon.
/// The chunks are read in the state before this statement, so it may delete them itself. The claim has set `turn` to 0,
/// the head of the queue.
const END_CLAIMS: &str = "
    WITH ending AS (
        SELECT * FROM unnest($1::text[], $2::text[], $3::bool[], $4::text[], $5::text[])
            AS ending (id, status, counts, failure_kind, execution_error)),
    output AS (
        SELECT c.execution_id AS id,
            coalesce(string_agg(text, '' ORDER BY seq) FILTER (WHERE stream = 'stdout'), '') AS stdout,
            coalesce(string_agg(text, '' ORDER BY seq) FILTER (WHERE stream = 'stderr'), '') AS stderr,
            coalesce(string_agg(text, '' ORDER BY seq) FILTER (WHERE stream = 'install'), '') AS install
        FROM output_chunks c JOIN ending ON ending.id = c.execution_id WHERE ending.status <> 'queued'
        GROUP BY c.execution_id),
    deleted AS (DELETE FROM output_chunks c USING ending WHERE c.execution_id = ending.id)
    UPDATE executions e
    SET status = ending.status,
        released = released + CASE WHEN ending.counts THEN 0 ELSE 1 END,
        failure_kind = ending.failure_kind, execution_error = ending.execution_error,
        completed_at = CASE WHEN ending.status <> 'queued' THEN clock_timestamp() END,
        started_at = CASE WHEN ending.status <> 'queued' THEN started_at END,
        worker_name = CASE WHEN ending.status <> 'queued' THEN worker_name END,
        worker_id = NULL, lease_until = NULL,
        secrets = CASE ending.status WHEN 'queued' THEN secrets END,
        stdout = coalesce(output.stdout, ''), stdout_bytes = coalesce(octet_length(output.stdout), 0),
        stderr = coalesce(output.stderr, ''), stderr_bytes = coalesce(octet_length(output.stderr), 0),
        install_output = coalesce(output.install, '')
    FROM ending LEFT JOIN output ON output.id = ending.id WHERE e.id = ending.id";

/// A claim that has ended, and the status of its execution now.
#[derive(Debug, Clone)]
pub struct ReleasedClaim {
    pub execution: ExecutionId,
    pub attempt: i32,
    /// `queued`, `failed` or `cancelled`.
    pub status: Status,
}

/// The columns that decide how a claim ends.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = executions, check_for_backend(diesel::pg::Pg))]
struct ClaimRow {
    id: String,
    attempt: i32,
    released: i32,
    max_attempts: i32,
    cancel_requested: bool,
    installing: bool,
    worker_name: Option<String>,
}

/// How a claim ends.
#[derive(Debug, PartialEq, Eq)]
struct End {
    status: Status,
    /// The attempt counts, because its script may have started.
    counts: bool,
    failure: Option<(FailureKind, String)>,
}

impl ClaimRow {
    /// A script that may have started runs again only if attempts are left, and one that has not only if claims are.
    fn end(&self, reason: ReleaseReason, max_claims: i32) -> End {
        // A worker that was still installing the requirements had not started the script.
        let not_started =
            reason == ReleaseReason::NotStarted || (self.installing && reason != ReleaseReason::Drained);
        let counts = !not_started;
        let starts = self.attempt - self.released;
        let goes_on = if counts { starts < self.max_attempts } else { self.attempt < max_claims };
        if self.cancel_requested || goes_on {
            let status = if self.cancel_requested { Status::Cancelled } else { Status::Queued };
            return End { status, counts, failure: None };
        }
        let worker = self.worker_name.as_deref().unwrap_or_default();
        let what = match reason {
            _ if not_started => {
                let error = format!(
                    "the script could not be started in {} claims (execution.max_claims), the last of them by worker \
                     {worker}; its log contains the reasons",
                    self.attempt
                );
                return End { status: Status::Failed, counts, failure: Some((FailureKind::Internal, error)) };
            }
            ReleaseReason::Drained => "was stopped, and its worker.drain_timeout passed,",
            ReleaseReason::EngineLost => "lost its Docker engine",
            ReleaseReason::WorkerLost | ReleaseReason::NotStarted => "was lost",
        };
        let error = format!(
            "worker {worker} {what} while the script ran (attempt {starts} of {}); submit it again, or allow more with \
             --max-attempts",
            self.max_attempts
        );
        End { status: Status::Failed, counts, failure: Some((FailureKind::Lost, error)) }
    }
}

impl Store {
    /// Ends a claim. `None` if it was lost already.
    pub async fn release(&self, claim: &Claim, reason: ReleaseReason) -> Result<Option<ReleasedClaim>> {
        let (claim, max_claims) = (claim.clone(), self.max_claims);
        let released = self
            .transaction(move |conn| {
                let row = claimed_row(&claim).select(ClaimRow::as_select());
                let rows = row.for_update().load(conn)?;
                end_claims(conn, rows, reason, max_claims)
            })
            .await?
            .pop();
        if let Some(one) = &released {
            METRICS.releases.add(&[], 1);
            self.publish_release(one);
        }
        Ok(released)
    }

    /// Ends claims whose lease has run out. After a restart of Postgres, workers get half a lease to renew theirs first.
    pub async fn rescue(&self, lease: Duration) -> Result<Vec<ReleasedClaim>> {
        let max_claims = self.max_claims;
        let rescued = self
            .transaction(move |conn| {
                let rows = executions::table
                    .filter(executions::status.eq("running"))
                    .filter(executions::lease_until.lt(clock_timestamp().nullable()))
                    .filter(pg_postmaster_start_time().lt(ago(lease / 2)))
                    .order(executions::lease_until)
                    .limit(RESCUE_BATCH)
                    .select(ClaimRow::as_select())
                    .for_update()
                    .skip_locked()
                    .load(conn)?;
                end_claims(conn, rows, ReleaseReason::WorkerLost, max_claims)
            })
            .await?;
        for one in &rescued {
            METRICS.rescues.add(&[one.status.as_str()], 1);
            self.publish_release(one);
        }
        Ok(rescued)
    }

    fn publish_release(&self, one: &ReleasedClaim) {
        self.notifier.publish(match one.status {
            Status::Queued => Notification::Queued,
            _ => Notification::Ended(one.execution.clone()),
        });
        self.notifier.publish(Notification::Changed(one.execution.clone()));
    }

    /// Ends the claims of this worker that are not in `known`, because the reply to a claim got lost. Must not run while
    /// a claim is in flight. A claim with output has run, so it is left to its lease.
    pub async fn release_unknown(&self, worker: &WorkerId, known: &[Claim]) -> Result<Vec<ReleasedClaim>> {
        let known: Vec<String> = known.iter().map(|claim| claim.execution.to_string()).collect();
        let output = output_chunks::table
            .filter(output_chunks::execution_id.eq(executions::id))
            .filter(output_chunks::attempt.eq(executions::attempt));
        let unknown = executions::table
            .filter(executions::worker_id.eq(worker.to_string()))
            .filter(executions::status.eq("running"))
            .filter(executions::id.ne_all(known))
            .filter(not(exists(output)));
        let (locked, max_claims) = (unknown.select(ClaimRow::as_select()).for_update(), self.max_claims);
        self.transaction(move |conn| {
            let rows = locked.load(conn)?;
            end_claims(conn, rows, ReleaseReason::NotStarted, max_claims)
        })
        .await
    }

    /// The claims of these workers, and whether each is installing its requirements.
    pub async fn claims_of(&self, workers: &[WorkerId]) -> Result<Vec<(Claim, bool)>> {
        let workers: Vec<String> = workers.iter().map(ToString::to_string).collect();
        let claims = executions::table
            .filter(executions::worker_id.eq_any(workers))
            .filter(executions::status.eq("running"))
            .select((
                executions::id,
                executions::attempt,
                executions::worker_id.assume_not_null(),
                executions::installing,
            ));
        let rows: Vec<(String, i32, String, bool)> = self.load(claims).await?;
        let claim = |(id, attempt, worker, installing)| {
            let (execution, worker) = (ExecutionId::from_stored(id), WorkerId::from_stored(worker));
            (Claim { execution, attempt, worker }, installing)
        };
        Ok(rows.into_iter().map(claim).collect())
    }
}

/// For locked rows.
fn end_claims(
    conn: &mut PgConnection,
    rows: Vec<ClaimRow>,
    reason: ReleaseReason,
    max_claims: i32,
) -> Result<Vec<ReleasedClaim>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ends: Vec<End> = rows.iter().map(|row| row.end(reason, max_claims)).collect();
    let failure = |end: &End| end.failure.clone().map(|(kind, error)| (kind.as_str(), error)).unzip();
    let (kinds, errors): (Vec<Option<&str>>, Vec<Option<String>>) = ends.iter().map(failure).unzip();
    statement(END_CLAIMS)
        .bind::<Array<Text>, _>(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(ends.iter().map(|end| end.status.as_str()).collect::<Vec<_>>())
        .bind::<Array<Bool>, _>(ends.iter().map(|end| end.counts).collect::<Vec<_>>())
        .bind::<Array<Nullable<Text>>, _>(kinds)
        .bind::<Array<Nullable<Text>>, _>(errors)
        .execute(conn)?;
    let released = |(row, end): (ClaimRow, End)| ReleasedClaim {
        execution: ExecutionId::from_stored(row.id),
        attempt: row.attempt,
        status: end.status,
    };
    Ok(rows.into_iter().zip(ends).map(released).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_runs_again_only_while_attempts_or_claims_are_left() {
        use FailureKind::{Internal, Lost};
        use ReleaseReason::{Drained, EngineLost, NotStarted, WorkerLost};
        use Status::{Cancelled, Failed, Queued};
        const MAX_CLAIMS: i32 = 5;
        // Attempt, released, max_attempts, cancel_requested, installing, reason; status, counts, failure.
        for (
            attempt,
            released,
            max_attempts,
            cancel_requested,
            installing,
            reason,
            status,
            counts,
            failure,
        ) in [
            (1, 0, 2, false, false, WorkerLost, Queued, true, None),
            (2, 0, 2, false, false, WorkerLost, Failed, true, Some(Lost)),
            (1, 0, 1, false, false, WorkerLost, Failed, true, Some(Lost)),
            (1, 0, 2, false, false, EngineLost, Queued, true, None),
            (2, 0, 2, false, false, EngineLost, Failed, true, Some(Lost)),
            // Claims that were released before the script started do not count.
            (3, 2, 2, false, false, WorkerLost, Queued, true, None),
            (4, 2, 2, false, false, WorkerLost, Failed, true, Some(Lost)),
            // A lost install is no attempt, even the last one.
            (1, 0, 1, false, true, WorkerLost, Queued, false, None),
            (1, 0, 1, false, true, EngineLost, Queued, false, None),
            (1, 0, 1, false, true, Drained, Failed, true, Some(Lost)),
            (1, 0, 2, false, false, Drained, Queued, true, None),
            (2, 0, 2, false, false, Drained, Failed, true, Some(Lost)),
            // A script that never starts does not stay in the queue for ever.
            (1, 0, 1, false, false, NotStarted, Queued, false, None),
            (4, 3, 1, false, false, NotStarted, Queued, false, None),
            (5, 4, 1, false, false, NotStarted, Failed, false, Some(Internal)),
            (5, 4, 1, false, true, WorkerLost, Failed, false, Some(Internal)),
            // A requested cancellation takes precedence.
            (1, 0, 2, true, false, WorkerLost, Cancelled, true, None),
            (1, 0, 2, true, true, WorkerLost, Cancelled, false, None),
            (2, 0, 2, true, false, Drained, Cancelled, true, None),
            (1, 0, 2, true, false, NotStarted, Cancelled, false, None),
        ] {
            let (id, worker_name) = (String::new(), None);
            let row =
                ClaimRow { id, attempt, released, max_attempts, cancel_requested, installing, worker_name };
            let end = row.end(reason, MAX_CLAIMS);
            let kind = end.failure.map(|(kind, _)| kind);
            assert_eq!((end.status, end.counts, kind), (status, counts, failure), "{row:?} {reason:?}");
        }
    }
}
