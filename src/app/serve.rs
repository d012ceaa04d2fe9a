//! `rgridd serve`: start in order, serve, stop in order.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use anyhow::{Context, anyhow};
use slog::{Logger, info, o, warn};
use tokio::sync::watch;

use super::database::Database;
use super::home::Home;
use super::resume::Sweeper;
use super::{engine, environments, holders, logging, naming, retention, signals, webhooks};
use crate::actors::{Backlog, Drain, Fatal, Poller, Recorder, Worker, tend};
use crate::execution::WorkerId;
use crate::http::{self, Api, Readiness};
use crate::settings::{AuthMode, Settings};
use crate::store::{Budget, Store};

/// How long open requests may go on when everything else has stopped.
const HTTP_GRACE: Duration = Duration::from_secs(5);

/// For the removal of containers when all runs have ended.
const REMOVAL_GRACE: Duration = Duration::from_secs(15);

/// What this process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    All,
    Api,
    Worker,
}

impl Role {
    fn works(self) -> bool {
        matches!(self, Role::All | Role::Worker)
    }
}

/// Returns when the daemon has stopped in good order; an error means that it could not start.
pub fn serve(settings: Settings, role: Role) -> anyhow::Result<ExitCode> {
    let logging = logging::start(&settings.log);
    let log = logging.log.clone();
    let stop = signals::listen()?;
    let mut home = Home::open(&settings.data_dir)?;
    let database = Database::open(&settings, &log)?;
    let served = run(Arc::new(settings), role, &database, &mut home, stop, &log);
    database.close(&log);
    info!(log, "stopped");
    served
}

fn run(
    settings: Arc<Settings>,
    role: Role,
    database: &Database,
    home: &mut Home,
    stop: watch::Receiver<u32>,
    log: &Logger,
) -> anyhow::Result<ExitCode> {
    let system = actix::System::new();
    let served = system.block_on(async {
        let fatal = Fatal::default();
        database.watch(log);
        let daemon = Daemon::start(settings, role, database, home, &fatal, log).await?;
        tokio::select! {
            () = daemon.serve_until(stop, log) => Ok(ExitCode::SUCCESS),
            // As with kill -9, nothing is lost: the next start takes over.
            reason = fatal.told() => Err(anyhow!(reason).context("this worker cannot go on")),
        }
    });
    // Dropping the runtime would wait for its threads, and one that is stuck in a database that hangs never ends.
    std::mem::forget(system);
    served
}

/// Keeps a loop of the worker's alive. When that can't be, the process ends.
fn tended<F, T>(name: &'static str, fatal: &Fatal, log: &Logger, start: F)
where
    F: FnMut() -> T + 'static,
    T: Future<Output = ()> + 'static,
{
    let (fatal, log) = (fatal.clone(), log.clone());
    actix_rt::spawn(async move {
        if let Err(reason) = tend(name, log, start).await {
            fatal.tell(reason);
        }
    });
}

/// The worker's part of the connections; the API has the others.
fn worker_share(connections: usize) -> usize {
    (connections * 3 / 8).max(1)
}

/// The running parts.
struct Daemon {
    work: Option<Work>,
    server: http::Server,
    readiness: Arc<Readiness>,
}

/// The part that executes.
struct Work {
    worker: Arc<Worker>,
    poller: Addr<Poller>,
}

impl Daemon {
    async fn start(
        settings: Arc<Settings>,
        role: Role,
        database: &Database,
        home: &mut Home,
        fatal: &Fatal,
        log: &Logger,
    ) -> anyhow::Result<Self> {
        database.prepare(log).await?;
        exchange_news(&database.store, fatal, log)?;
        let readiness = Arc::new(Readiness::default());
        let budget = Budget::new(settings.retention.disk_budget.0, 2 * settings.execution.output_limit.0);
        let work = match role.works() {
            true => Some(Work::start(&settings, database, home, &readiness, &budget, fatal, log).await?),
            false => None,
        };
        if settings.auth.mode == AuthMode::Keys && database.store.keys().await?.is_empty() {
            warn!(log, "nobody has a key yet; make one with `rgridd keys create --name NAME`");
        }
        look_after(&database.store, &settings, &budget, fatal, log);
        let api =
            Api::new(database.store.clone(), Arc::clone(&settings), Arc::clone(&readiness), budget, log);
        let served = http::serve(api, settings.http.listen.0).with_context(|| {
            format!(
                "http.listen: {} can't be listened at; is another rgridd running there?",
                settings.http.listen.0
            )
        });
        let (server, address) = match served {
            Ok(served) => served,
            Err(error) => {
                // What was claimed and parked until now must not wait for the next start.
                if let Some(work) = work {
                    work.stop(watch::channel(2).1, log).await;
                }
                return Err(error);
            }
        };
        info!(log, "ready"; "address" => format!("http://{address}"), "role" => ?role,
            "slots" => settings.worker.slots, "version" => env!("CARGO_PKG_VERSION"));
        Ok(Self { work, server, readiness })
    }

    /// Readiness first, then the work, then the API: whoever waits for a result still gets it.
    async fn serve_until(self, mut stop: watch::Receiver<u32>, log: &Logger) {
        let _ = stop.wait_for(|count| *count > 0).await;
        info!(log, "stopping");
        self.readiness.set_draining();
        if let Some(work) = self.work {
            work.stop(stop.clone(), log).await;
        }
        if tokio::time::timeout(HTTP_GRACE, self.server.stop(true)).await.is_err() {
            warn!(log, "requests were cut off");
        }
    }
}

impl Work {
    async fn start(
        settings: &Arc<Settings>,
        database: &Database,
        home: &mut Home,
        readiness: &Arc<Readiness>,
        budget: &Budget,
        fatal: &Fatal,
        log: &Logger,
    ) -> anyhow::Result<Self> {
        let settings = &naming::with_a_stable_name(settings).await;
        let store = database.store.lane(worker_share(settings.database.connections));
        let id = WorkerId::generate();
        let cluster = store.cluster().await?;
        // Before it owns anything: the next start must know whom it takes over from.
        home.sign(&id).context("the data folder can't be written")?;
        // Before Docker: a worker that nobody knows counts as gone, and its containers are swept.
        let Settings { worker: own, .. } = settings.as_ref();
        store.register_worker(&id, &own.name, own.slots, &own.labels.0).await?;
        let docker = match engine::open(settings, cluster, &id, log).await {
            Ok(docker) => docker,
            Err(error) => {
                let _ = store.worker_stopped(&id).await;
                return Err(error);
            }
        };
        let backlog = Backlog::default();
        let recorder = Recorder::new(store.clone(), backlog.clone(), fatal.clone(), log).start();
        let worker = Worker::new(
            id,
            Arc::clone(settings),
            store,
            docker.clone(),
            recorder,
            budget.clone(),
            fatal.clone(),
            log,
        );
        let poller = Poller::new(Arc::clone(&worker)).start();
        let sweeper = Sweeper::new(
            Arc::clone(&worker),
            poller.clone(),
            home.predecessors.clone(),
            log.new(o!("part" => "sweeper")),
        );
        // The runs of the ones before come first: they are the oldest.
        if let Some(named) = sweeper.sweep().await {
            home.inherit(&worker.id, named).context("the data folder can't be written")?;
            if let Err(error) = docker.sweep_volumes().await {
                warn!(log, "old volumes can't be looked for"; "error" => %error);
            }
        }
        tended("sweeper", fatal, log, move || Arc::clone(&sweeper).sweep_for_ever());
        let of = Arc::clone(&worker);
        tended("holders", fatal, log, move || holders::tend_for_ever(Arc::clone(&of)));
        let (of, own) = (Arc::clone(&worker), log.new(o!("part" => "environments")));
        tended("environments", fatal, log, move || {
            environments::sweep_for_ever(Arc::clone(&of), own.clone())
        });
        let (of, engine, own) = (Arc::clone(settings), docker.clone(), log.new(o!()));
        tended("fence", fatal, log, move || engine::mend_fence(Arc::clone(&of), engine.clone(), own.clone()));
        let (readiness, own) = (Arc::clone(readiness), log.new(o!()));
        tended("engine watch", fatal, log, move || {
            engine::watch(docker.clone(), Arc::clone(&readiness), backlog.clone(), own.clone())
        });
        Ok(Self { worker, poller })
    }

    async fn stop(self, mut stop: watch::Receiver<u32>, log: &Logger) {
        let (sender, at_once) = watch::channel(false);
        actix_rt::spawn(async move {
            let _ = stop.wait_for(|count| *count > 1).await;
            let _ = sender.send(true);
            // The receiver must not see the sender go.
            sender.closed().await;
        });
        if let Err(error) = self.poller.send(Drain { at_once }).await {
            warn!(log, "the poller was gone before the drain"; "error" => %error);
        }
        self.worker.docker.dismiss_holders();
        if tokio::time::timeout(REMOVAL_GRACE, self.worker.docker.settled()).await.is_err() {
            warn!(log, "containers are left for the next start: Docker does not answer");
        }
        if let Err(error) = self.worker.store.worker_stopped(&self.worker.id).await {
            warn!(log, "the worker's end could not be noted"; "error" => %error);
        }
    }
}

/// What any daemon does for the whole deployment.
fn look_after(store: &Store, settings: &Arc<Settings>, budget: &Budget, fatal: &Fatal, log: &Logger) {
    let (of, webhook, own) = (store.clone(), settings.webhook.clone(), log.new(o!("part" => "webhooks")));
    tended("webhooks", fatal, log, move || webhooks::send_for_ever(of.clone(), webhook.clone(), own.clone()));
    let (of, budget, rules) = (store.clone(), budget.clone(), settings.retention.clone());
    let own = log.new(o!("part" => "retention"));
    tended("retention", fatal, log, move || {
        retention::sweep_for_ever(of.clone(), budget.clone(), rules.clone(), own.clone())
    });
}

/// With the other processes on this database.
fn exchange_news(store: &Store, fatal: &Fatal, log: &Logger) -> anyhow::Result<()> {
    let (teller, telling) = (store.clone(), log.new(o!()));
    tended("news", fatal, log, move || {
        let (store, log) = (teller.clone(), telling.clone());
        async move { store.tell_others(log).await }
    });
    store.listen_to_others(log.new(o!())).context("the thread that listens for news can't be started")
}
