//! What everything that executes in this process shares.

use std::sync::Arc;

use actix::Addr;
use slog::Logger;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::execution::{LabelSets, WorkerId};
use crate::sandbox::Docker;
use crate::settings::{RuntimeTable, Settings};
use crate::store::{DiskBudget, Store};
use crate::worker::failed_installs::FailedInstalls;
use crate::worker::idle_executors::IdleExecutors;
use crate::worker::{ActiveClaims, Executor, FatalError, Recorder};

/// How far the way to the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Working,
    /// Nothing new is claimed.
    Draining,
}

/// One running `rgridd` that executes. Shared by reference; everything in it may be used at once.
pub struct Worker {
    pub id: WorkerId,
    pub name: String,
    /// What it may claim.
    pub(crate) offer: LabelSets,
    pub settings: Arc<Settings>,
    pub runtimes: RuntimeTable,
    pub store: Store,
    pub docker: Docker,
    pub recorder: Addr<Recorder>,
    pub budget: DiskBudget,
    pub(crate) fatal: FatalError,
    pub claims: ActiveClaims,
    pub(crate) bench: IdleExecutors<Addr<Executor>>,
    pub(crate) phase: watch::Sender<Phase>,
    /// ClaimHandle from asking for claims until they are on the list, so that a drain sees them all. Until then there
    /// may be claims of this worker's whose answer got lost.
    pub claiming: Mutex<Option<Instant>>,
    pub(crate) failed_installs: FailedInstalls,
    /// What former workers left on this host has been taken over: only then may expired claims be called lost.
    pub(crate) settled_in: watch::Sender<bool>,
    pub log: Logger,
}

impl Worker {
    #[allow(clippy::too_many_arguments, reason = "everything that a worker shares comes together here")]
    pub fn new(
        id: WorkerId,
        settings: Arc<Settings>,
        store: Store,
        docker: Docker,
        recorder: Addr<Recorder>,
        budget: DiskBudget,
        fatal: FatalError,
        log: &Logger,
    ) -> Arc<Self> {
        let name = settings.worker.name.clone();
        Arc::new(Self {
            log: log.new(slog::o!("worker" => name.clone())),
            runtimes: settings.runtimes(),
            claims: ActiveClaims::default(),
            bench: IdleExecutors::default(),
            phase: watch::channel(Phase::Working).0,
            claiming: Mutex::new(None),
            failed_installs: FailedInstalls::default(),
            settled_in: watch::channel(false).0,
            id,
            name,
            offer: LabelSets::of(&settings.worker.labels.0),
            settings,
            store,
            docker,
            recorder,
            budget,
            fatal,
        })
    }

    pub fn is_draining(&self) -> bool {
        *self.phase.borrow() == Phase::Draining
    }

    pub fn has_settled_in(&self) {
        self.settled_in.send_replace(true);
    }

    /// A logger for one attempt.
    pub fn log_for(&self, claim: &crate::execution::Claim) -> Logger {
        self.log.new(slog::o!("execution" => claim.execution.to_string(), "attempt" => claim.attempt))
    }
}
