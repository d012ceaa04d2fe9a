//! The workers of the deployment, and its id.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::{exists, not, select};
use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::execution::{Claim, ExecutionId, FirewallState, WorkerCondition, WorkerId};
use crate::store::schema::{deployment, executions, workers};
use crate::store::sql::{ago, clock_timestamp, elapsed};
use crate::store::{Result, Store, StoreError};

/// The row of a worker that has been silent for this long is deleted.
const FORGET_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
/// A worker that has been silent for this long does not delay the use of labels.
const UPGRADE_SILENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = workers, check_for_backend(diesel::pg::Pg))]
pub struct WorkerRow {
    pub id: String,
    pub name: String,
    pub slots: i32,
    pub started_at: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
    pub draining: bool,
    /// NULL for an older rgridd that does not know labels.
    labels: Option<serde_json::Value>,
    pub engine_problem: Option<String>,
    /// NULL for an older rgridd that does not report it.
    firewall: Option<String>,
    pub firewall_problem: Option<String>,
    #[diesel(select_expression = running_claims())]
    pub running: i64,
}

#[diesel::dsl::auto_type]
fn running_claims() -> _ {
    executions::table
        .filter(executions::status.eq("running"))
        .filter(executions::worker_id.eq(workers::id.nullable()))
        .count()
        .single_value()
        .assume_not_null()
}

impl WorkerRow {
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.labels.clone().and_then(|labels| serde_json::from_value(labels).ok()).unwrap_or_default()
    }

    /// `None` for an unknown state of a newer rgridd.
    pub fn firewall(&self) -> Option<FirewallState> {
        self.firewall.as_deref()?.parse().ok()
    }
}

impl Store {
    /// The deployment's id, which labels its containers.
    pub async fn cluster(&self) -> Result<String> {
        let only = deployment::table.filter(deployment::only_row);
        self.get(only.select(deployment::cluster.cast::<Text>())).await
    }

    pub async fn register_worker(
        &self,
        id: &WorkerId,
        name: &str,
        slots: usize,
        labels: &BTreeMap<String, String>,
    ) -> Result<()> {
        let forgotten = workers::table.filter(workers::last_seen.lt(ago(FORGET_AFTER)));
        self.execute(diesel::delete(forgotten)).await?;
        let row = (
            workers::id.eq(id.to_string()),
            workers::name.eq(name.to_owned()),
            workers::slots.eq(i32::try_from(slots).unwrap_or(i32::MAX)),
            workers::labels.eq(serde_json::json!(labels)),
        );
        self.execute(diesel::insert_into(workers::table).values(row)).await.map(drop)
    }

    pub async fn touch_worker(
        &self,
        id: &WorkerId,
        draining: bool,
        condition: WorkerCondition,
    ) -> Result<()> {
        let changes = (
            workers::last_seen.eq(clock_timestamp()),
            workers::draining.eq(draining),
            workers::engine_problem.eq(condition.engine_problem),
            workers::firewall.eq(condition.firewall.as_str()),
            workers::firewall_problem.eq(condition.firewall_problem),
        );
        self.execute(diesel::update(workers::table.find(id.to_string())).set(changes)).await.map(drop)
    }

    /// The worker has shut down cleanly: it owns nothing and will not come back.
    pub async fn mark_worker_stopped(&self, id: &WorkerId) -> Result<()> {
        let now = clock_timestamp();
        let changes = (workers::last_seen.eq(now), workers::stopped_at.eq(now.nullable()));
        self.execute(diesel::update(workers::table.find(id.to_string())).set(changes)).await.map(drop)
    }

    /// Workers that have not shut down cleanly, the most recently seen first.
    pub async fn workers(&self) -> Result<Vec<WorkerRow>> {
        let later = diesel::alias!(workers as later);
        // A worker that was killed, came back and was stopped is not missing.
        let stopped_later = later
            .filter(later.field(workers::name).eq(workers::name))
            .filter(later.field(workers::stopped_at).is_not_null())
            .filter(later.field(workers::started_at).ge(workers::last_seen));
        let all = workers::table.filter(workers::stopped_at.is_null()).filter(not(exists(stopped_later)));
        self.load(all.order(workers::last_seen.desc()).limit(1000).select(WorkerRow::as_select())).await
    }

    /// Names of workers that did not shut down cleanly and have been silent for `silence`, with the seconds of silence.
    /// Not those that were started again under the same name.
    pub async fn stale_workers(&self, silence: Duration) -> Result<Vec<(String, i64)>> {
        let later = diesel::alias!(workers as later);
        let seen_later = later
            .filter(later.field(workers::name).eq(workers::name))
            .filter(later.field(workers::last_seen).gt(workers::last_seen));
        let stale = workers::table
            .filter(workers::stopped_at.is_null())
            .filter(workers::last_seen.lt(ago(silence)))
            .filter(not(exists(seen_later)));
        let seen = stale.select((workers::name, workers::last_seen, clock_timestamp()));
        let rows = self.load(seen.order(workers::name).limit(100)).await?;
        let silence = |(name, seen, now)| (name, elapsed(seen, now).as_secs_f64().round() as i64);
        Ok(rows.into_iter().map(silence).collect())
    }

    /// Whether a worker that owns containers on this host may still be alive: it has neither stopped nor been silent
    /// for `silence`. An unknown worker is not alive.
    pub async fn worker_may_be_alive(&self, id: &WorkerId, silence: Duration) -> Result<bool> {
        let running = workers::table.find(id.to_string()).filter(workers::stopped_at.is_null());
        self.get(select(exists(running.filter(workers::last_seen.gt(ago(silence)))))).await
    }

    /// The claim on this attempt, if it is running.
    pub async fn running_claim(&self, execution: &ExecutionId, attempt: i32) -> Result<Option<Claim>> {
        let running = executions::table
            .find(execution.to_string())
            .filter(executions::attempt.eq(attempt))
            .filter(executions::status.eq("running"));
        let owner: Option<Option<String>> = self.load(running.select(executions::worker_id)).await?.pop();
        let worker = owner.flatten().map(WorkerId::from_stored);
        Ok(worker.map(|worker| Claim { execution: execution.clone(), attempt, worker }))
    }
}

/// A worker of a version without labels would run any execution. No such worker can be started any more, because its
/// schema is older, so labels are refused only until the last one has stopped.
pub(crate) fn require_label_support(conn: &mut PgConnection) -> Result<()> {
    let older: Option<String> = workers::table
        .filter(workers::labels.is_null())
        .filter(workers::stopped_at.is_null())
        .filter(workers::last_seen.gt(ago(UPGRADE_SILENCE)))
        .order(workers::name)
        .select(workers::name)
        .first(conn)
        .optional()?;
    match older {
        None => Ok(()),
        Some(name) => Err(StoreError::Conflict(format!(
            "worker {name} is of an older version and would not look at `on`; submit it again when all workers are upgraded"
        ))),
    }
}
