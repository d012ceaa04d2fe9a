//! Ending a claim before its script has ended: the execution returns to the queue, or ends.
//!
//! An attempt counts from the start of its script. A claim that ends earlier is not counted (`released`).

use std::time::Duration;

use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel::sql_types::{Array, Text};
use rgrid_api::Status;

use crate::execution::{Claim, ExecutionId, WorkerId};
use crate::metrics::METRICS;
use crate::store::schema::{executions, output_chunks};
use crate::store::sql::{ago, clock_timestamp, pg_postmaster_start_time, statement};
use crate::store::{Result, Store, notify::Notification, queue::claimed_row};

/// The most claims that one call rescues.
const RESCUE_BATCH: i64 = 200;

/// Gives the executions `$1` the statuses `$2`, where `$3` is the reason for `failed`.
///
/// SQL text: it folds the chunks of executions that end into their rows without moving the output through the daemon.
/// The chunks are read in the state before this statement, so it may delete them itself.
const END_CLAIMS: &str = "
    WITH ending AS (SELECT * FROM unnest($1::text[], $2::text[]) AS ending (id, status)),
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
        released = released + CASE WHEN installing AND ending.status = 'queued' THEN 1 ELSE 0 END,
        failure_kind = CASE ending.status WHEN 'failed' THEN 'lost' END,
        execution_error = CASE ending.status WHEN 'failed' THEN
            'worker ' || worker_name || ' ' || $3 || ' while the script ran (attempt ' || attempt - released
            || ' of ' || max_attempts || '); submit it again, or allow more with --max-attempts' END,
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

/// Why a script that may have started is not going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interruption {
    /// Its worker stops, and the script did not end in time.
    Drain,
    /// Its worker's lease has run out.
    Lost,
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
}

impl ClaimRow {
    /// The script may have started, so it runs again only if attempts are left. A lost worker that was still installing
    /// the requirements had not started the script.
    fn status_after(&self, interruption: Interruption) -> Status {
        let has_not_started = self.installing && interruption == Interruption::Lost;
        if self.cancel_requested {
            Status::Cancelled
        } else if has_not_started || self.attempt - self.released < self.max_attempts {
            Status::Queued
        } else {
            Status::Failed
        }
    }

    fn released_as(self, status: Status) -> ReleasedClaim {
        ReleasedClaim { execution: ExecutionId::from_stored(self.id), attempt: self.attempt, status }
    }
}

/// A queued execution's columns. The claim has set `turn` to 0, the head of the queue.
#[derive(Clone, Default, AsChangeset)]
#[diesel(table_name = executions, treat_none_as_null = true)]
struct Unclaimed {
    worker_id: Option<String>,
    worker_name: Option<String>,
    lease_until: Option<chrono::DateTime<chrono::Utc>>,
    started_at: Option<chrono::DateTime<chrono::Utc>>,
}

impl Store {
    /// Ends a claim. `started` means that its script may have started, so that the attempt counts. None if the claim was
    /// lost already.
    pub async fn release(&self, claim: &Claim, started: bool) -> Result<Option<ReleasedClaim>> {
        let claim = claim.clone();
        let released = self
            .transaction(move |conn| {
                let row = claimed_row(&claim).select(ClaimRow::as_select());
                let rows = row.for_update().load(conn)?;
                match started {
                    true => interrupt(conn, rows, Interruption::Drain),
                    false => undo_claims(conn, rows),
                }
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
                interrupt(conn, rows, Interruption::Lost)
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
        let locked = unknown.select(ClaimRow::as_select()).for_update();
        self.transaction(|conn| {
            let rows = locked.load(conn)?;
            undo_claims(conn, rows)
        })
        .await
    }

    /// Ends the leases of workers that are certainly gone, so that their claims are rescued at once. Returns how many.
    pub async fn expire_leases(&self, workers: &[WorkerId]) -> Result<usize> {
        let workers: Vec<String> = workers.iter().map(ToString::to_string).collect();
        let now = clock_timestamp().nullable();
        let leases = executions::table
            .filter(executions::worker_id.eq_any(workers))
            .filter(executions::status.eq("running"))
            .filter(executions::lease_until.gt(now));
        self.execute(diesel::update(leases).set(executions::lease_until.eq(now))).await
    }
}

/// For locked rows whose scripts may have started.
fn interrupt(
    conn: &mut PgConnection,
    rows: Vec<ClaimRow>,
    interruption: Interruption,
) -> Result<Vec<ReleasedClaim>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let reason = match interruption {
        Interruption::Drain => "was stopped, and its worker.drain_timeout passed,",
        Interruption::Lost => "was lost",
    };
    let statuses: Vec<Status> = rows.iter().map(|row| row.status_after(interruption)).collect();
    statement(END_CLAIMS)
        .bind::<Array<Text>, _>(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(statuses.iter().map(|status| status.as_str()).collect::<Vec<_>>())
        .bind::<Text, _>(reason)
        .execute(conn)?;
    Ok(rows.into_iter().zip(statuses).map(|(row, status)| row.released_as(status)).collect())
}

/// For locked rows whose scripts have not started. Their output goes with the claim.
fn undo_claims(conn: &mut PgConnection, rows: Vec<ClaimRow>) -> Result<Vec<ReleasedClaim>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let (cancelled, queued): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.cancel_requested);
    let ids = |rows: &[ClaimRow]| rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>();
    let not_counted = executions::released.eq(executions::released + 1);
    diesel::update(executions::table.filter(executions::id.eq_any(ids(&queued))))
        .set((executions::status.eq("queued"), not_counted, Unclaimed::default()))
        .execute(conn)?;
    if !cancelled.is_empty() {
        diesel::update(executions::table.filter(executions::id.eq_any(ids(&cancelled))))
            .set((
                executions::status.eq("cancelled"),
                executions::completed_at.eq(clock_timestamp().nullable()),
                executions::secrets.eq(None::<serde_json::Value>),
                not_counted,
                Unclaimed::default(),
            ))
            .execute(conn)?;
    }
    let all = [ids(&queued), ids(&cancelled)].concat();
    diesel::delete(output_chunks::table.filter(output_chunks::execution_id.eq_any(all))).execute(conn)?;
    let queued = queued.into_iter().map(|row| row.released_as(Status::Queued));
    Ok(queued.chain(cancelled.into_iter().map(|row| row.released_as(Status::Cancelled))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_script_runs_again_only_while_attempts_are_left() {
        use Interruption::{Drain, Lost};
        use Status::{Cancelled, Failed, Queued};
        // Attempt, released, max_attempts, cancel_requested, installing, interruption, status.
        for (attempt, released, max_attempts, cancel_requested, installing, interruption, status) in [
            (1, 0, 2, false, false, Lost, Queued),
            (2, 0, 2, false, false, Lost, Failed),
            (1, 0, 1, false, false, Lost, Failed),
            // Claims that were released before the script started do not count.
            (3, 2, 2, false, false, Lost, Queued),
            (4, 2, 2, false, false, Lost, Failed),
            // A lost install is no attempt, even the last one.
            (1, 0, 1, false, true, Lost, Queued),
            (1, 0, 1, false, true, Drain, Failed),
            (1, 0, 2, false, false, Drain, Queued),
            (2, 0, 2, false, false, Drain, Failed),
            // A requested cancellation takes precedence.
            (1, 0, 2, true, false, Lost, Cancelled),
            (1, 0, 2, true, true, Lost, Cancelled),
            (2, 0, 2, true, false, Drain, Cancelled),
        ] {
            let row =
                ClaimRow { id: String::new(), attempt, released, max_attempts, cancel_requested, installing };
            assert_eq!(row.status_after(interruption), status, "{row:?} {interruption:?}");
        }
    }
}
