//! Takes over executions of workers that are gone, and removes their containers.
//!
//! Containers are found by the deployment's label. A worker is certainly gone if it held this data directory before;
//! any other worker counts as gone when it has been silent for a lease.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use futures_util::future::join_all;
use slog::{Logger, info, warn};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::execution::{Claim, ExecutionId, ReleaseReason, WorkerId};
use crate::failpoint;
use crate::sandbox::{DockerError, ManagedContainer, Sandbox};
use crate::store::StoreError;
use crate::worker::{Adopt, AllowRescue, Heartbeat, Poller, PredecessorStarts, StartRecord, Worker};

/// Pause after a reconciliation that left something unresolved.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Minimum age of a container of this worker that belongs to none of its sandboxes. Docker creates a container before
/// it responds, and the response may be lost.
const STRAY_AFTER: Duration = Duration::from_secs(90);
/// How long a start command may be on its way to an init whose worker was killed, and how often the init is asked.
const START_COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// An init that has not responded for this long never will.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(300);

#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error(transparent)]
    Docker(#[from] DockerError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The worker that created a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Creator {
    ThisWorker,
    Alive,
    Gone,
}

/// What to do with a container that no sandbox of this process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Leave,
    /// Ask its init which job it runs; adopt the job if its worker is gone, or else remove the container.
    Inspect,
    Remove,
}

/// `stray`: the container has been without a sandbox for too long to be just being created.
fn action_for(creator: Creator, stray: bool, may_run_a_job: bool) -> Action {
    match (creator, may_run_a_job) {
        (Creator::Alive, _) => Action::Leave,
        (Creator::ThisWorker, _) if !stray => Action::Leave,
        (Creator::ThisWorker | Creator::Gone, true) => Action::Inspect,
        (Creator::ThisWorker | Creator::Gone, false) => Action::Remove,
    }
}

/// Why a predecessor's claim can be released before any container was asked, if it can. An install goes on in its
/// container.
fn reason_before_asking(
    record: StartRecord,
    installing: bool,
    exists: impl Fn(&str) -> bool,
) -> Option<ReleaseReason> {
    match record {
        StartRecord::NotStarted => (!installing).then_some(ReleaseReason::NotStarted),
        StartRecord::MayHaveStarted { container } => {
            (!exists(container)).then_some(ReleaseReason::WorkerLost)
        }
        StartRecord::Unknown => None,
    }
}

/// The workers that used this data directory before.
pub(crate) struct Predecessors {
    workers: Vec<WorkerId>,
    starts: PredecessorStarts,
}

impl Predecessors {
    pub fn read(data_dir: &Path, workers: Vec<WorkerId>) -> Self {
        Self { starts: PredecessorStarts::read(data_dir, &workers), workers }
    }
}

pub(crate) struct ContainerReconciler {
    worker: Arc<Worker>,
    poller: Addr<Poller>,
    heartbeat: Addr<Heartbeat>,
    predecessors: Predecessors,
    /// When each container was first seen without a sandbox.
    unresolved: Mutex<HashMap<String, Instant>>,
    /// Held by a pass, because two would adopt the same sandboxes.
    pass: Mutex<()>,
    log: Logger,
}

impl ContainerReconciler {
    pub fn new(
        worker: Arc<Worker>,
        poller: Addr<Poller>,
        heartbeat: Addr<Heartbeat>,
        predecessors: Predecessors,
    ) -> Arc<Self> {
        let log = worker.log.new(slog::o!("part" => "reconciler"));
        Arc::new(Self {
            worker,
            poller,
            heartbeat,
            predecessors,
            unresolved: Mutex::default(),
            pass: Mutex::default(),
            log,
        })
    }

    /// Reconciles once per lease, and again soon if something was left unresolved. Never returns.
    pub async fn run(self: Arc<Self>) {
        loop {
            let pause = match self.reconcile().await {
                Some(_) => self.worker.settings.worker.lease.0,
                None => RETRY_AFTER,
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns the predecessors whose labels are still on adopted containers, or `None` if something was left
    /// unresolved.
    pub async fn reconcile(&self) -> Option<Vec<WorkerId>> {
        failpoint::hit("resume.sweeping").await;
        self.reconcile_containers(STRAY_AFTER).await
    }

    /// Removes containers that Docker created although its response was lost. This worker must not use containers any
    /// more.
    pub async fn remove_strays(&self) {
        self.reconcile_containers(Duration::ZERO).await;
    }

    async fn reconcile_containers(&self, stray_after: Duration) -> Option<Vec<WorkerId>> {
        let _pass = self.pass.lock().await;
        let containers = match self.worker.docker.list_containers().await {
            Ok(containers) => containers,
            Err(error) => {
                warn!(self.log, "listing left-over sandboxes failed"; "error" => %error);
                return None;
            }
        };
        self.unresolved.lock().await.retain(|id, _| containers.iter().any(|found| found.container == *id));
        let exists = |id: &str| containers.iter().any(|found| found.container == id);
        let certain = self.release_claims(|claim, installing| {
            reason_before_asking(self.predecessors.starts.of(claim), installing, exists)
        });
        let mut all_resolved = true;
        if let Err(error) = certain.await {
            all_resolved = false;
            warn!(self.log, "releasing claims of former workers failed; retrying later"; "error" => %error);
        }
        // At the same time, because an init that is about to end may not answer.
        let reconciled = containers.iter().map(async |container| {
            let reconciled = self.reconcile_one(container, &containers, stray_after).await;
            if let Err(error) = &reconciled {
                warn!(self.log, "reconciling a left-over sandbox failed; retrying later";
                    "container" => &container.container, "error" => %error);
            }
            reconciled.is_ok()
        });
        all_resolved &= join_all(reconciled).await.into_iter().all(|resolved| resolved);
        // A draining worker adopts nothing, so claims of its predecessors may still run in their sandboxes.
        if !all_resolved || self.worker.is_draining() {
            return None;
        }
        // Claims that predecessors still own are in no sandbox: the workers or the sandboxes died.
        let released = self.release_claims(|claim, _| match self.predecessors.starts.of(claim) {
            StartRecord::NotStarted => Some(ReleaseReason::NotStarted),
            StartRecord::MayHaveStarted { .. } | StartRecord::Unknown => Some(ReleaseReason::WorkerLost),
        });
        if let Err(error) = released.await {
            warn!(self.log, "releasing claims of former workers failed; retrying later"; "error" => %error);
            return None;
        }
        let _ = self.heartbeat.send(AllowRescue).await;
        let has_container = |worker: &&WorkerId| {
            let adopted = |found: &&ManagedContainer| self.worker.docker.reaper.is_tracked(&found.container);
            containers.iter().filter(adopted).any(|found| found.worker == worker.as_str())
        };
        Some(self.predecessors.workers.iter().filter(has_container).cloned().collect())
    }

    /// Releases claims of predecessors for which there is a reason.
    async fn release_claims(
        &self,
        reason: impl Fn(&Claim, bool) -> Option<ReleaseReason>,
    ) -> Result<(), StoreError> {
        if self.predecessors.workers.is_empty() || self.worker.is_draining() {
            return Ok(());
        }
        for (claim, installing) in self.worker.store.claims_of(&self.predecessors.workers).await? {
            if let Some(reason) = reason(&claim, installing) {
                self.release(&claim, reason).await?;
            }
        }
        Ok(())
    }

    async fn release(&self, claim: &Claim, reason: ReleaseReason) -> Result<(), StoreError> {
        if let Some(released) = self.worker.store.release(claim, reason).await? {
            info!(self.log, "released a claim of a former worker"; "execution" => %claim.execution,
                "attempt" => claim.attempt, "reason" => ?reason, "becomes" => released.status.as_str());
        }
        Ok(())
    }

    async fn reconcile_one(
        &self,
        found: &ManagedContainer,
        all: &[ManagedContainer],
        stray_after: Duration,
    ) -> Result<(), ReconcileError> {
        // A holder is removed with the sandbox that joined it.
        let joined = || all.iter().any(|other| other.joined.as_ref() == Some(&found.container));
        if self.worker.docker.reaper.is_tracked(&found.container) || (found.is_holder && joined()) {
            return Ok(());
        }
        let worker = WorkerId::from_stored(found.worker.clone());
        let (creator, stray) = match worker == self.worker.id {
            true => (Creator::ThisWorker, self.unresolved_for(found).await >= stray_after),
            false if self.is_gone(&worker).await? => (Creator::Gone, true),
            false => (Creator::Alive, false),
        };
        let remove = match action_for(creator, stray, found.running && !found.is_holder) {
            Action::Leave => false,
            Action::Inspect => !self.adopt_if_abandoned(found).await?,
            Action::Remove => true,
        };
        if remove {
            info!(self.log, "removing a left-over sandbox"; "container" => &found.container, "of" => %worker);
            self.worker.docker.remove(found);
        }
        Ok(())
    }

    async fn is_gone(&self, worker: &WorkerId) -> Result<bool, StoreError> {
        let lease = self.worker.settings.worker.lease.0;
        Ok(self.predecessors.workers.contains(worker)
            || !self.worker.store.worker_may_be_alive(worker, lease).await?)
    }

    async fn unresolved_for(&self, found: &ManagedContainer) -> Duration {
        let mut unresolved = self.unresolved.lock().await;
        unresolved.entry(found.container.clone()).or_insert_with(Instant::now).elapsed()
    }

    /// Whether the container runs an attempt that a live worker owns, this one included.
    async fn adopt_if_abandoned(&self, found: &ManagedContainer) -> Result<bool, ReconcileError> {
        let (sandbox, job) = match self.attach(found).await {
            Ok(attached) => attached,
            Err(_) if self.unresolved_for(found).await > UNRESPONSIVE_AFTER => return Ok(false),
            // A temporary failure of Docker must not cost a running script.
            Err(error) => return Err(error),
        };
        let Some((execution, attempt)) = job else {
            // Before the sandbox is removed: if it were missing, its script could have run.
            if let Err(error) = self.release_starts_in(found).await {
                sandbox.detach();
                return Err(error.into());
            }
            return Ok(false);
        };
        let owner = match self.worker.store.running_claim(&execution, attempt).await {
            // It has ended, or another attempt runs elsewhere.
            Ok(None) => return Ok(false),
            Ok(Some(claim)) => self.is_abandoned(&claim).await.map(|abandoned| (claim, abandoned)),
            Err(error) => Err(error),
        };
        match owner {
            Ok((claim, true)) => self.adopt(claim, sandbox).await?,
            Ok((_, false)) => sandbox.detach(),
            Err(error) => {
                sandbox.detach();
                return Err(error.into());
            }
        }
        Ok(true)
    }

    /// The sandbox and its job. A start command that a killed worker sent may still be on its way to the init.
    async fn attach(
        &self,
        found: &ManagedContainer,
    ) -> Result<(Sandbox, Option<(ExecutionId, i32)>), ReconcileError> {
        let deadline = Instant::now() + START_COMMAND_TIMEOUT;
        loop {
            let (sandbox, _, job) = self.worker.docker.reattach(found).await?;
            let job = job.as_deref().and_then(Claim::parse_job_id);
            if job.is_some() || Instant::now() > deadline {
                return Ok((sandbox, job));
            }
            match self.starts_in(found).await {
                Ok(starts) if starts.is_empty() => return Ok((sandbox, None)),
                Ok(_) => sandbox.detach(),
                Err(error) => {
                    sandbox.detach();
                    return Err(error.into());
                }
            }
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
    }

    /// For a container whose init has not received a job.
    async fn release_starts_in(&self, found: &ManagedContainer) -> Result<(), StoreError> {
        for claim in self.starts_in(found).await? {
            self.release(&claim, ReleaseReason::NotStarted).await?;
        }
        Ok(())
    }

    /// The claims of predecessors whose scripts may have started in this container.
    async fn starts_in(&self, found: &ManagedContainer) -> Result<Vec<Claim>, StoreError> {
        let mut claims = Vec::new();
        for (execution, attempt) in self.predecessors.starts.in_container(&found.container) {
            let claim = self.worker.store.running_claim(&execution, attempt).await?;
            claims.extend(claim.filter(|claim| self.predecessors.workers.contains(&claim.worker)));
        }
        Ok(claims)
    }

    /// The container's label names its creator, but another worker may have adopted the claim since. This worker may
    /// have done so too, if the reply was lost.
    async fn is_abandoned(&self, claim: &Claim) -> Result<bool, StoreError> {
        match claim.worker == self.worker.id {
            true => Ok(!self.worker.claims.contains(claim)),
            false => self.is_gone(&claim.worker).await,
        }
    }

    async fn adopt(&self, claim: Claim, sandbox: Sandbox) -> Result<(), StoreError> {
        if sandbox.builds().is_none()
            && let Err(error) = self.worker.note_start(&claim, sandbox.container())
        {
            sandbox.detach();
            return Err(StoreError::Unavailable(format!("writing to the data directory failed: {error}")));
        }
        let adopted = self.poller.send(Adopt { claim, sandbox: Box::new(sandbox) }).await;
        adopted.unwrap_or_else(|error| Err(StoreError::Unavailable(format!("the poller: {error}"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_released_at_once_if_nothing_in_a_container_can_change_its_end() {
        use ReleaseReason::{NotStarted, WorkerLost};
        let started_in = |container| StartRecord::MayHaveStarted { container };
        for (record, installing, expected) in [
            (StartRecord::NotStarted, false, Some(NotStarted)),
            (StartRecord::NotStarted, true, None),
            (started_in("exists"), false, None),
            (started_in("gone"), false, Some(WorkerLost)),
            (StartRecord::Unknown, false, None),
        ] {
            let reason = reason_before_asking(record, installing, |container| container == "exists");
            assert_eq!(reason, expected, "{record:?} {installing}");
        }
    }

    #[test]
    fn a_container_is_removed_only_if_nothing_can_come_of_it() {
        use Action::{Inspect, Leave, Remove};
        use Creator::{Alive, Gone, ThisWorker};
        for (creator, stray, may_run_a_job, expected) in [
            (ThisWorker, false, true, Leave),
            (ThisWorker, false, false, Leave),
            (ThisWorker, true, true, Inspect),
            (ThisWorker, true, false, Remove),
            (Alive, false, true, Leave),
            (Alive, true, true, Leave),
            (Alive, true, false, Leave),
            (Gone, true, true, Inspect),
            (Gone, false, true, Inspect),
            (Gone, true, false, Remove),
        ] {
            let action = action_for(creator, stray, may_run_a_job);
            assert_eq!(action, expected, "{creator:?}, stray {stray}, may run a job {may_run_a_job}");
        }
    }
}
