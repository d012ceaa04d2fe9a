//! `rgridd serve`: starts the parts of the daemon in order, and stops them in reverse order.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use slog::{Logger, info, o, warn};
use tokio::sync::watch;

use crate::daemon::worker_runtime::WorkerRuntime;
use crate::daemon::{data_dir::DataDir, database::Database, logging, oom_score, signals};
use crate::http::{self, Api, Readiness};
use crate::maintenance::{retention, run_in_background, webhooks};
use crate::settings::{AuthMode, Settings};
use crate::store::{DiskBudget, Store};
use crate::worker::FatalError;

/// How long open requests may go on after everything else has stopped.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The parts of the daemon that a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Role {
    #[default]
    All,
    Api,
    Worker,
}

/// What all parts of the daemon share.
pub(super) struct Daemon {
    pub settings: Arc<Settings>,
    pub budget: DiskBudget,
    pub readiness: Arc<Readiness>,
    pub fatal: FatalError,
    /// How many signals to stop have arrived.
    pub stop: watch::Receiver<u32>,
    pub log: Logger,
}

/// A signal to stop arrived before the daemon was ready.
#[derive(Debug, thiserror::Error)]
#[error("stopped before it was ready")]
struct StartupAborted;

/// Ends the process when the daemon has stopped. An error means that the start failed before there was anything to
/// stop.
pub fn serve(settings: Settings, role: Role) -> anyhow::Result<Infallible> {
    let logging = logging::start(&settings.log);
    let log = logging.log.clone();
    oom_score::lower(&log);
    let stop = signals::listen()?;
    let mut data_dir = DataDir::open(&settings.data_dir)?;
    let database = Database::open(&settings, &log)?;
    let daemon = Daemon {
        budget: DiskBudget::new(settings.retention.disk_budget.0, 2 * settings.execution.output_limit.0),
        settings: Arc::new(settings),
        readiness: Arc::default(),
        fatal: FatalError::default(),
        stop,
        log: log.clone(),
    };
    let system = actix::System::new();
    let served = system.block_on(async {
        database.watch(&log);
        tokio::select! {
            served = daemon.run(role, &database, &mut data_dir) => served,
            // As after kill -9, nothing is lost: the next start takes over.
            reason = daemon.fatal.wait() => Err(anyhow!(reason).context("this worker cannot go on")),
        }
    });
    // Dropping the runtime would wait for its threads, and a thread that is stuck in a hanging database never ends.
    std::mem::forget(system);
    database.close(&log);
    info!(log, "stopped");
    // Flushes the last lines.
    drop(logging);
    if let Err(error) = &served {
        eprintln!("error: {error:#}");
    }
    signals::leave(i32::from(served.is_err()))
}

impl Daemon {
    /// Whatever has started is stopped in order, even if the start fails or is aborted.
    async fn run(&self, role: Role, database: &Database, data_dir: &mut DataDir) -> anyhow::Result<()> {
        let mut worker = None;
        let started = self.start(role, database, data_dir, &mut worker).await;
        let aborted = matches!(&started, Err(error) if error.is::<StartupAborted>());
        if started.is_ok() {
            self.stop_requested().await;
            // Readiness first, then the worker, then the API, so that clients that wait for a result still get it.
            self.readiness.set_draining();
        }
        info!(self.log, "stopping");
        if let Some(worker) = worker {
            // After a failed start nothing is worth waiting for.
            let stop = if started.is_ok() || aborted { self.stop.clone() } else { watch::channel(2).1 };
            worker.stop(stop, &self.log).await;
        }
        match started {
            Ok(api) => {
                api.stop(&self.log).await;
                Ok(())
            }
            Err(_) if aborted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// `worker` is set as soon as there is a worker to stop.
    async fn start(
        &self,
        role: Role,
        database: &Database,
        data_dir: &mut DataDir,
        worker: &mut Option<WorkerRuntime>,
    ) -> anyhow::Result<ApiServer> {
        let store = &database.store;
        self.unless_stopped(database.prepare(&self.log)).await?;
        self.exchange_notifications(store)?;
        if role != Role::Api {
            let worker = worker.insert(WorkerRuntime::start(self, database, data_dir).await?);
            self.unless_stopped(worker.reconcile_and_maintain(self, data_dir)).await?;
        }
        if self.settings.auth.mode == AuthMode::Keys && store.keys().await?.is_empty() {
            warn!(self.log, "there are no API keys yet; create one with `rgridd keys create --name NAME`");
        }
        self.maintain_deployment(store);
        ApiServer::start(self, store.clone(), role)
    }

    async fn stop_requested(&self) {
        let _ = self.stop.clone().wait_for(|signals| *signals > 0).await;
    }

    /// For a step that may take long and that may be interrupted.
    pub async fn unless_stopped<T>(
        &self,
        step: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            done = step => done,
            () = self.stop_requested() => Err(StartupAborted.into()),
        }
    }

    /// Every daemon does this for the whole deployment. Several at once do no harm.
    fn maintain_deployment(&self, store: &Store) {
        let (of, settings) = (store.clone(), self.settings.webhook.clone());
        let log = self.log.new(o!("part" => "webhooks"));
        run_in_background("webhooks", &self.fatal, &self.log, move || {
            webhooks::run(of.clone(), settings.clone(), log.clone())
        });
        let (of, budget, rules) = (store.clone(), self.budget.clone(), self.settings.retention.clone());
        let log = self.log.new(o!("part" => "retention"));
        run_in_background("retention", &self.fatal, &self.log, move || {
            retention::run(of.clone(), budget.clone(), rules.clone(), log.clone())
        });
    }

    /// Sends notifications to the other daemons of the deployment, and receives theirs.
    fn exchange_notifications(&self, store: &Store) -> anyhow::Result<()> {
        let (sender, log) = (store.clone(), self.log.clone());
        run_in_background("notifications", &self.fatal, &self.log, move || {
            let (store, log) = (sender.clone(), log.clone());
            async move { store.send_notifications(log).await }
        });
        store.listen_for_notifications(self.log.clone()).context("starting the notification thread failed")
    }
}

struct ApiServer(http::Server);

impl ApiServer {
    fn start(daemon: &Daemon, store: Store, role: Role) -> anyhow::Result<Self> {
        let Daemon { settings, readiness, budget, log, .. } = daemon;
        let listen = settings.http.listen.0;
        let api = Api::new(store, Arc::clone(settings), Arc::clone(readiness), budget.clone(), log);
        let (server, address) = http::serve(api, listen).with_context(|| {
            format!(
                "cannot listen on {listen} (http.listen); is another rgridd running there? Set RGRID_HTTP__LISTEN to \
                 another address"
            )
        })?;
        info!(log, "ready"; "address" => format!("http://{address}"), "role" => ?role,
            "slots" => settings.worker.slots, "version" => env!("CARGO_PKG_VERSION"));
        Ok(Self(server))
    }

    async fn stop(self, log: &Logger) {
        if tokio::time::timeout(STOP_TIMEOUT, self.0.stop(true)).await.is_err() {
            warn!(log, "open requests were cut off");
        }
    }
}
