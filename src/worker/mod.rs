//! The worker's actors: Poller → Executor × N → Recorder, and the Heartbeat beside them.
//!
//! Data flows one way, and the reply to a message is the credit for the next one. Work runs in tasks, because actix
//! closes the mailbox of an actor that panics: a task's `JoinHandle` reports the panic, the actor stops itself, and its
//! Supervisor restarts it with the same mailbox.

mod active_claims;
mod attempt;
mod executor;
mod failed_installs;
mod heartbeat;
mod idle_executors;
mod poller;
mod recorder;
mod start_log;
mod supervision;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::{Addr, Handler, Message};
use slog::Logger;
use tokio::sync::watch;

use crate::execution::{Claim, LabelSets, WorkerCondition, WorkerId};
use crate::sandbox::Docker;
use crate::settings::{RuntimeTable, Settings};
use crate::store::{DiskBudget, Store};

use failed_installs::FailedInstalls;
use recorder::Interrupted;

pub use active_claims::{ActiveClaims, Signal};
pub use executor::Executor;
pub use heartbeat::{AllowRescue, Heartbeat};
pub use poller::{Adopt, Drain, Poller};
pub use recorder::{Backlog, Recorder};
pub use start_log::{PredecessorStarts, StartLog, StartRecord, remove_all_but as remove_start_logs};
pub use supervision::{FatalError, PanicCounter, RESTART_PAUSE};

/// A running `rgridd` that runs executions.
pub struct Worker {
    pub id: WorkerId,
    pub settings: Arc<Settings>,
    pub runtimes: RuntimeTable,
    /// Label sets that an execution may ask for.
    pub(crate) labels: LabelSets,
    pub store: Store,
    pub docker: Docker,
    pub recorder: Addr<Recorder>,
    pub budget: DiskBudget,
    pub(crate) fatal: FatalError,
    pub claims: ActiveClaims,
    /// The daemon's checks write it.
    pub condition: watch::Sender<WorkerCondition>,
    pub(crate) starts: StartLog,
    pub(crate) failed_installs: FailedInstalls,
    draining: AtomicBool,
    pub log: Logger,
}

/// Connections of a worker to the rest of the system.
pub struct WorkerHandles {
    pub store: Store,
    pub docker: Docker,
    pub recorder: Addr<Recorder>,
    pub starts: StartLog,
    pub budget: DiskBudget,
    pub fatal: FatalError,
    pub condition: WorkerCondition,
}

impl Worker {
    pub fn new(id: WorkerId, settings: Arc<Settings>, handles: WorkerHandles, log: &Logger) -> Arc<Self> {
        let WorkerHandles { store, docker, recorder, starts, budget, fatal, condition } = handles;
        Arc::new(Self {
            log: log.new(slog::o!("worker" => settings.worker.name.clone())),
            runtimes: settings.runtimes(),
            labels: LabelSets::of(&settings.worker.labels.0),
            claims: ActiveClaims::default(),
            condition: watch::channel(condition).0,
            failed_installs: FailedInstalls::default(),
            draining: AtomicBool::new(false),
            id,
            settings,
            store,
            docker,
            recorder,
            starts,
            budget,
            fatal,
        })
    }

    pub fn name(&self) -> &str {
        &self.settings.worker.name
    }

    /// Whether the worker finishes its executions and claims no new ones.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Why no script may start with a network now.
    pub(crate) fn network_blocked(&self) -> Option<String> {
        self.condition.borrow().blocks_network().map(str::to_owned)
    }

    /// Waits until the engine or the firewall, which did not work, works again.
    pub(crate) async fn repaired(&self) {
        let mut condition = self.condition.subscribe();
        let _ = condition.wait_for(WorkerCondition::limits_claims).await;
        let _ = condition.wait_for(|condition| !condition.limits_claims()).await;
    }

    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// From now on, the script of this attempt may start in this container.
    pub(crate) fn note_start(&self, claim: &Claim, container: &str) -> io::Result<()> {
        self.starts.append(claim, container, || self.claims.all())
    }

    /// Sends a message to the Recorder until it is answered. `None` means that the process ends.
    pub(crate) async fn record<M, R>(&self, message: M) -> Option<R>
    where
        M: Message<Result = Result<R, Interrupted>> + Clone + Send + 'static,
        R: Send + 'static,
        Recorder: Handler<M>,
    {
        loop {
            match self.recorder.send(message.clone()).await {
                Ok(Ok(reply)) => return Some(reply),
                Ok(Err(Interrupted)) => {}
                Err(error) => {
                    self.fatal.report(format!("the recorder ended: {error}"));
                    return None;
                }
            }
        }
    }

    pub(crate) fn log_for(&self, claim: &Claim) -> Logger {
        self.log.new(slog::o!("execution" => claim.execution.to_string(), "attempt" => claim.attempt))
    }
}
