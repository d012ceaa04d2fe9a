//! What is left of workers that are gone: their runs are taken over, their containers removed.
//!
//! A container is found by its deployment's label. Its worker is gone for certain when it held this data folder
//! before; any other is taken for gone when it has been silent for a lease.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use slog::{Logger, info, warn};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::execution::{Claim, ExecutionId, WorkerId};
use crate::failpoint;
use crate::sandbox::{DockerError, ManagedContainer, Sandbox};
use crate::store::StoreError;
use crate::worker::{Poller, Resume, TakeOver, Worker};

/// After a sweep that had to leave something.
const SOON: Duration = Duration::from_secs(1);
/// A container of this very worker that none of its sandboxes is in: Docker made it though its answer got lost, or
/// is about to give that answer.
const STRAY_AFTER: Duration = Duration::from_secs(90);
/// An init that has not said hello for so long is of no use to anybody.
const MUTE_FOR: Duration = Duration::from_secs(300);

#[derive(Debug, thiserror::Error)]
enum ResumeError {
    #[error(transparent)]
    Docker(#[from] DockerError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Looks after what others left; lives as long as the worker.
pub(crate) struct ContainerReconciler {
    worker: Arc<Worker>,
    poller: Addr<Poller>,
    predecessors: Vec<WorkerId>,
    /// Containers that could not be settled, since when.
    open: Mutex<HashMap<String, Instant>>,
    log: Logger,
}

impl ContainerReconciler {
    pub fn new(
        worker: Arc<Worker>,
        poller: Addr<Poller>,
        predecessors: Vec<WorkerId>,
        log: Logger,
    ) -> Arc<Self> {
        Arc::new(Self { worker, poller, predecessors, open: Mutex::default(), log })
    }

    /// Once a lease, and soon again when something had to stay.
    pub async fn sweep_for_ever(self: Arc<Self>) {
        loop {
            let pause = match self.sweep().await {
                Some(_) => self.worker.settings.worker.lease.0,
                None => SOON,
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// None when something had to stay for the next time; else the predecessors whose names are still on a container
    /// that was taken over.
    pub async fn sweep(&self) -> Option<Vec<WorkerId>> {
        failpoint::hit("resume.sweeping").await;
        self.settle_all(STRAY_AFTER).await
    }

    /// When this worker uses no container any more: those that Docker made for it, or for one before it, without
    /// anybody hearing of it.
    pub async fn last_sweep(&self) {
        self.settle_all(Duration::ZERO).await;
    }

    async fn settle_all(&self, stray_after: Duration) -> Option<Vec<WorkerId>> {
        let found = match self.worker.docker.list_containers().await {
            Ok(found) => found,
            Err(error) => {
                warn!(self.log, "left-over sandboxes can't be looked for"; "error" => %error);
                return None;
            }
        };
        self.open.lock().await.retain(|name, _| found.iter().any(|one| one.container == *name));
        let mut all = true;
        for container in &found {
            if let Err(error) = self.settle(container, &found, stray_after).await {
                all = false;
                warn!(self.log, "a left-over sandbox stays for now"; "container" => &container.container, "error" => %error);
            }
        }
        // While it drains it takes nothing over, so what a former worker owns may still be in its sandbox.
        if !all || self.worker.is_draining() {
            return None;
        }
        if let Err(error) = self.let_go().await {
            warn!(self.log, "claims of former workers stay for now"; "error" => %error);
            return None;
        }
        self.worker.has_settled_in();
        let named = |who: &&WorkerId| {
            let own = |one: &&ManagedContainer| one.worker == who.as_str();
            found.iter().filter(own).any(|one| self.worker.docker.is_tracked(&one.container))
        };
        Some(self.predecessors.iter().filter(named).cloned().collect())
    }

    /// What predecessors own now is in no sandbox: they died before the job was handed over, or the sandbox did too.
    async fn let_go(&self) -> Result<(), StoreError> {
        let expired = match self.predecessors.is_empty() {
            true => 0,
            false => self.worker.store.expire_leases(&self.predecessors).await?,
        };
        if expired > 0 {
            info!(self.log, "former workers left claims without a sandbox"; "claims" => expired);
        }
        Ok(())
    }

    async fn settle(
        &self,
        found: &ManagedContainer,
        all: &[ManagedContainer],
        stray_after: Duration,
    ) -> Result<(), ResumeError> {
        let owner = WorkerId::from_stored(found.worker.clone());
        let ours = owner == self.worker.id;
        // A holder goes with the sandbox that has joined it.
        let joined =
            |holder: &ManagedContainer| all.iter().any(|one| one.joined.as_ref() == Some(&holder.container));
        if self.worker.docker.is_tracked(&found.container)
            || (found.is_holder && joined(found))
            || (ours && self.seen_for(found).await < stray_after)
            || (!ours && !self.gone(&owner).await?)
            || (found.running && !found.is_holder && self.take_over(found).await?)
        {
            return Ok(());
        }
        info!(self.log, "removing a left-over sandbox"; "container" => &found.container, "of" => %owner);
        self.worker.docker.remove(found);
        Ok(())
    }

    async fn gone(&self, who: &WorkerId) -> Result<bool, StoreError> {
        let lease = self.worker.settings.worker.lease.0;
        Ok(self.predecessors.contains(who) || !self.worker.store.worker_may_be_alive(who, lease).await?)
    }

    /// Since when this container has been an open question.
    async fn seen_for(&self, found: &ManagedContainer) -> Duration {
        self.open.lock().await.entry(found.container.clone()).or_insert_with(Instant::now).elapsed()
    }

    /// Whether the container runs an attempt that somebody owns: this worker now, or another that lives.
    async fn take_over(&self, found: &ManagedContainer) -> Result<bool, ResumeError> {
        let (sandbox, _, job) = match self.worker.docker.reattach(found).await {
            Ok(attached) => attached,
            // A Docker that ails must not cost a run that lives.
            Err(_) if self.seen_for(found).await > MUTE_FOR => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let Some((execution, attempt)) = job.as_deref().and_then(Claim::parse_job_id) else {
            return Ok(false);
        };
        let abandoned = match self.owner_of(&execution, attempt).await {
            Ok(Owner::Gone(claim)) => claim,
            Ok(Owner::Nobody) => return Ok(false),
            Ok(Owner::Alive) => {
                sandbox.detach();
                return Ok(true);
            }
            Err(error) => {
                sandbox.detach();
                return Err(error.into());
            }
        };
        self.adopt(&abandoned, sandbox).await
    }

    /// True also when another daemon was faster: it has attached for itself.
    async fn adopt(&self, abandoned: &Claim, sandbox: Sandbox) -> Result<bool, ResumeError> {
        let worker = &self.worker;
        // Until it is on the list of claims, nobody may think that it was claimed by mistake.
        let _claiming = worker.claiming.lock().await;
        if worker.is_draining() || worker.claims.holds(abandoned) {
            sandbox.detach();
            return Ok(true);
        }
        let lease = worker.settings.worker.lease.0;
        let mut adopted = worker.store.adopt(abandoned, &worker.id, &worker.name, lease).await;
        if failpoint::loses("resume.answer") {
            adopted = Err(StoreError::Unavailable("the answer got lost".to_owned()));
        }
        match adopted {
            Ok(Some((claimed, stored))) => {
                let resume = Resume { sandbox: Box::new(sandbox), stored };
                Ok(self.poller.send(TakeOver { claimed, resume }).await.is_ok())
            }
            Ok(None) => {
                sandbox.detach();
                Ok(true)
            }
            Err(error) => {
                sandbox.detach();
                Err(error.into())
            }
        }
    }

    async fn owner_of(&self, execution: &ExecutionId, attempt: i32) -> Result<Owner, StoreError> {
        let Some(claim) = self.worker.store.running_claim(execution, attempt).await? else {
            return Ok(Owner::Nobody);
        };
        // The container's label names who made it; somebody else may have taken it over since.
        // This worker itself may have done so without hearing of it.
        let alive = match claim.worker == self.worker.id {
            true => self.worker.claims.holds(&claim),
            false => !self.gone(&claim.worker).await?,
        };
        Ok(if alive { Owner::Alive } else { Owner::Gone(claim) })
    }
}

/// Whose a running attempt is.
enum Owner {
    /// It has ended, or goes on elsewhere under another attempt.
    Nobody,
    Alive,
    Gone(Claim),
}
