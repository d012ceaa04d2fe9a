//! Takes over executions of workers that are gone, and removes their containers.
//!
//! Containers are found by the deployment's label. A worker is certainly gone if it held this data directory before;
//! any other worker counts as gone when it has been silent for a lease.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use slog::{Logger, info, warn};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::execution::{Claim, WorkerId};
use crate::failpoint;
use crate::sandbox::{DockerError, ManagedContainer, Sandbox};
use crate::store::StoreError;
use crate::worker::{Adopt, AllowRescue, Heartbeat, Poller, Worker};

/// Pause after a reconciliation that left something unresolved.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Minimum age of a container of this worker that belongs to none of its sandboxes. Docker creates a container before
/// it responds, and the response may be lost.
const STRAY_AFTER: Duration = Duration::from_secs(90);
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

pub(crate) struct ContainerReconciler {
    worker: Arc<Worker>,
    poller: Addr<Poller>,
    heartbeat: Addr<Heartbeat>,
    predecessors: Vec<WorkerId>,
    /// When each container was first seen without a sandbox.
    unresolved: Mutex<HashMap<String, Instant>>,
    log: Logger,
}

impl ContainerReconciler {
    pub fn new(
        worker: Arc<Worker>,
        poller: Addr<Poller>,
        heartbeat: Addr<Heartbeat>,
        predecessors: Vec<WorkerId>,
    ) -> Arc<Self> {
        let log = worker.log.new(slog::o!("part" => "reconciler"));
        Arc::new(Self { worker, poller, heartbeat, predecessors, unresolved: Mutex::default(), log })
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
        let containers = match self.worker.docker.list_containers().await {
            Ok(containers) => containers,
            Err(error) => {
                warn!(self.log, "listing left-over sandboxes failed"; "error" => %error);
                return None;
            }
        };
        self.unresolved.lock().await.retain(|id, _| containers.iter().any(|found| found.container == *id));
        let mut all_resolved = true;
        for container in &containers {
            if let Err(error) = self.reconcile_one(container, &containers, stray_after).await {
                all_resolved = false;
                warn!(self.log, "reconciling a left-over sandbox failed; retrying later";
                    "container" => &container.container, "error" => %error);
            }
        }
        // A draining worker adopts nothing, so claims of its predecessors may still run in their sandboxes.
        if !all_resolved || self.worker.is_draining() {
            return None;
        }
        if let Err(error) = self.expire_claims_of_predecessors().await {
            warn!(self.log, "expiring claims of former workers failed; retrying later"; "error" => %error);
            return None;
        }
        let _ = self.heartbeat.send(AllowRescue).await;
        let has_container = |worker: &&WorkerId| {
            let adopted = |found: &&ManagedContainer| self.worker.docker.reaper.is_tracked(&found.container);
            containers.iter().filter(adopted).any(|found| found.worker == worker.as_str())
        };
        Some(self.predecessors.iter().filter(has_container).cloned().collect())
    }

    /// Claims that predecessors still own are in no sandbox: the workers or the sandboxes died before the jobs
    /// started.
    async fn expire_claims_of_predecessors(&self) -> Result<(), StoreError> {
        if self.predecessors.is_empty() {
            return Ok(());
        }
        let expired = self.worker.store.expire_leases(&self.predecessors).await?;
        if expired > 0 {
            info!(self.log, "expired claims of former workers"; "claims" => expired);
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
        Ok(self.predecessors.contains(worker)
            || !self.worker.store.worker_may_be_alive(worker, lease).await?)
    }

    async fn unresolved_for(&self, found: &ManagedContainer) -> Duration {
        let mut unresolved = self.unresolved.lock().await;
        unresolved.entry(found.container.clone()).or_insert_with(Instant::now).elapsed()
    }

    /// Whether the container runs an attempt that a live worker owns, this one included.
    async fn adopt_if_abandoned(&self, found: &ManagedContainer) -> Result<bool, ReconcileError> {
        let (sandbox, _, job) = match self.worker.docker.reattach(found).await {
            Ok(attached) => attached,
            Err(_) if self.unresolved_for(found).await > UNRESPONSIVE_AFTER => return Ok(false),
            // A temporary failure of Docker must not cost a running script.
            Err(error) => return Err(error.into()),
        };
        let Some((execution, attempt)) = job.as_deref().and_then(Claim::parse_job_id) else {
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

    /// The container's label names its creator, but another worker may have adopted the claim since. This worker may
    /// have done so too, if the reply was lost.
    async fn is_abandoned(&self, claim: &Claim) -> Result<bool, StoreError> {
        match claim.worker == self.worker.id {
            true => Ok(!self.worker.claims.contains(claim)),
            false => self.is_gone(&claim.worker).await,
        }
    }

    async fn adopt(&self, claim: Claim, sandbox: Sandbox) -> Result<(), StoreError> {
        let adopted = self.poller.send(Adopt { claim, sandbox: Box::new(sandbox) }).await;
        adopted.unwrap_or_else(|error| Err(StoreError::Unavailable(format!("the poller: {error}"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
