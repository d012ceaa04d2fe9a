//! `rgridd serve`: start in order, serve, stop in order.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use anyhow::{Context, anyhow};
use slog::{Logger, info, o, warn};
use tokio::sync::watch;

use crate::daemon::data_dir::DataDir;
use crate::daemon::database::Database;
use crate::daemon::docker_engine;
use crate::daemon::logging;
use crate::daemon::recovery::ContainerReconciler;
use crate::daemon::signals;
use crate::daemon::worker_name;
use crate::execution::WorkerId;
use crate::http::{self, Api, Readiness};
use crate::maintenance::environments;
use crate::maintenance::holders;
use crate::maintenance::images;
use crate::maintenance::retention;
use crate::maintenance::run_in_background;
use crate::maintenance::webhooks;
use crate::settings::{AuthMode, Settings};
use crate::store::{DiskBudget, Store};
use crate::worker::{Backlog, Drain, FatalError, Heartbeat, Poller, Recorder, Worker, WorkerHandles};

/// How long open requests may go on when everything else has stopped.
const HTTP_GRACE: Duration = Duration::from_secs(5);

/// For the removal of containers when all runs have ended: a slot has a parked one, and networks that it shares.
const REMOVAL_GRACE: Duration = Duration::from_secs(14);
const REMOVAL_GRACE_OF_A_SLOT: Duration = Duration::from_millis(500);

/// The tasks of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Role {
    #[default]
    All,
    Api,
    Worker,
}

impl Role {
    fn works(self) -> bool {
        matches!(self, Role::All | Role::Worker)
    }
}

/// Ends the process when the daemon has stopped; an error means that it could not begin to start.
pub fn serve(settings: Settings, role: Role) -> anyhow::Result<Infallible> {
    let logging = logging::start(&settings.log);
    let log = logging.log.clone();
    let stop = signals::listen()?;
    let mut home = DataDir::open(&settings.data_dir)?;
    let database = Database::open(&settings, &log)?;
    let served = run(Arc::new(settings), role, &database, &mut home, stop, &log);
    database.close(&log);
    info!(log, "stopped");
    // The last lines are written before the process goes.
    drop(logging);
    if let Err(error) = &served {
        eprintln!("error: {error:#}");
    }
    signals::leave(i32::from(served.is_err()))
}

fn run(
    settings: Arc<Settings>,
    role: Role,
    database: &Database,
    home: &mut DataDir,
    stop: watch::Receiver<u32>,
    log: &Logger,
) -> anyhow::Result<()> {
    let system = actix::System::new();
    let served = system.block_on(async {
        let fatal = FatalError::default();
        database.watch(log);
        let start = Start { settings, role, database, home, fatal: &fatal, log };
        tokio::select! {
            served = start.and_serve_until(stop) => served,
            // As with kill -9, nothing is lost: the next start takes over.
            reason = fatal.wait() => Err(anyhow!(reason).context("this worker cannot go on")),
        }
    });
    // Dropping the runtime would wait for its threads, and one that is stuck in a database that hangs never ends.
    std::mem::forget(system);
    served
}

/// The worker's part of the connections; the API has the others.
fn worker_share(connections: usize) -> usize {
    (connections * 3 / 8).max(1)
}

/// What a start needs.
struct Start<'a> {
    settings: Arc<Settings>,
    role: Role,
    database: &'a Database,
    home: &'a mut DataDir,
    fatal: &'a FatalError,
    log: &'a Logger,
}

/// What clients see.
struct ApiServer {
    server: http::Server,
    readiness: Arc<Readiness>,
}

impl Start<'_> {
    /// However far the start has come when it fails or is called off, what has begun is ended in good order.
    async fn and_serve_until(self, stop: watch::Receiver<u32>) -> anyhow::Result<()> {
        let log = self.log;
        let mut work = None;
        let started = self.start(&mut work, &stop).await;
        let called_off = matches!(&started, Err(error) if error.is::<StartupAborted>());
        if let Ok(front) = &started {
            asked(&stop).await;
            // Readiness first, then the work, then the API: whoever waits for a result still gets it.
            front.readiness.set_draining();
        }
        info!(log, "stopping");
        if let Some(work) = work {
            // What was claimed and parked by a start that failed must not wait for the next one.
            let patience = if started.is_ok() || called_off { stop } else { watch::channel(2).1 };
            work.stop(patience, log).await;
        }
        match started {
            Ok(front) => {
                if tokio::time::timeout(HTTP_GRACE, front.server.stop(true)).await.is_err() {
                    warn!(log, "requests were cut off");
                }
                Ok(())
            }
            Err(_) if called_off => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// `work` is filled as soon as there is something to end.
    async fn start(
        self,
        work: &mut Option<WorkerRuntime>,
        stop: &watch::Receiver<u32>,
    ) -> anyhow::Result<ApiServer> {
        let Self { settings, role, database, home, fatal, log } = self;
        unless_asked(stop, database.prepare(log)).await?;
        exchange_news(&database.store, fatal, log)?;
        let readiness = Arc::new(Readiness::default());
        let budget = DiskBudget::new(settings.retention.disk_budget.0, 2 * settings.execution.output_limit.0);
        if role.works() {
            let begun = WorkerRuntime::begin(&settings, database, home, &budget, fatal, stop, log).await?;
            let work = work.insert(begun);
            unless_asked(stop, work.settle_in(home, &readiness, fatal, log)).await?;
        }
        if settings.auth.mode == AuthMode::Keys && database.store.keys().await?.is_empty() {
            warn!(log, "nobody has a key yet; make one with `rgridd keys create --name NAME`");
        }
        look_after(&database.store, &settings, &budget, fatal, log);
        let api =
            Api::new(database.store.clone(), Arc::clone(&settings), Arc::clone(&readiness), budget, log);
        let (server, address) = http::serve(api, settings.http.listen.0).with_context(|| {
            format!(
                "http.listen: {} can't be listened at; is another rgridd running there? RGRID_HTTP__LISTEN names another address",
                settings.http.listen.0
            )
        })?;
        info!(log, "ready"; "address" => format!("http://{address}"), "role" => ?role,
            "slots" => settings.worker.slots, "version" => env!("CARGO_PKG_VERSION"));
        Ok(ApiServer { server, readiness })
    }
}

/// It was asked to stop before it was ready.
#[derive(Debug, thiserror::Error)]
#[error("told to stop before it was ready")]
struct StartupAborted;

/// Returns when it is time to stop.
async fn asked(stop: &watch::Receiver<u32>) {
    let _ = stop.clone().wait_for(|count| *count > 0).await;
}

/// For what may take long, and leaves nothing when it is cut off.
async fn unless_asked<T>(
    stop: &watch::Receiver<u32>,
    what: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        done = what => done,
        () = asked(stop) => Err(StartupAborted.into()),
    }
}

/// The part that executes.
struct WorkerRuntime {
    worker: Arc<Worker>,
    poller: Addr<Poller>,
    sweeper: Arc<ContainerReconciler>,
    backlog: Backlog,
}

impl WorkerRuntime {
    /// From here on it claims, parks and runs.
    async fn begin(
        settings: &Arc<Settings>,
        database: &Database,
        home: &mut DataDir,
        budget: &DiskBudget,
        fatal: &FatalError,
        stop: &watch::Receiver<u32>,
        log: &Logger,
    ) -> anyhow::Result<Self> {
        let settings = &worker_name::with_a_stable_name(settings).await;
        let store = database.store.with_own_pool(worker_share(settings.database.connections));
        let id = WorkerId::generate();
        let cluster = store.cluster().await?;
        // Before it owns anything: the next start must know whom it takes over from.
        home.sign(&id).context("the data folder can't be written")?;
        // Before Docker: a worker that nobody knows counts as gone, and its containers are swept.
        let Settings { worker: own, .. } = settings.as_ref();
        store.register_worker(&id, &own.name, own.slots, &own.labels.0).await?;
        let opened = async {
            // A pull may take minutes.
            let (docker, image) =
                unless_asked(stop, docker_engine::reach(settings, cluster, &id, log)).await?;
            docker_engine::prepare(settings, &docker, &image, log).await?;
            anyhow::Ok(docker)
        };
        let docker = match opened.await {
            Ok(docker) => docker,
            Err(error) => {
                let _ = store.mark_worker_stopped(&id).await;
                return Err(error);
            }
        };
        let backlog = Backlog::default();
        let recorder = Recorder::start(store.clone(), backlog.clone(), fatal.clone(), log);
        let handles = WorkerHandles { store, docker, recorder, budget: budget.clone(), fatal: fatal.clone() };
        let worker = Worker::new(id, Arc::clone(settings), handles, log);
        let heartbeat = Heartbeat::start(Arc::clone(&worker));
        let poller = Poller::start(Arc::clone(&worker));
        let predecessors = home.predecessors.clone();
        let sweeper = ContainerReconciler::new(Arc::clone(&worker), poller.clone(), heartbeat, predecessors);
        Ok(Self { worker, poller, sweeper, backlog })
    }

    /// Takes over from those before, and starts what looks after things.
    async fn settle_in(
        &self,
        home: &mut DataDir,
        readiness: &Arc<Readiness>,
        fatal: &FatalError,
        log: &Logger,
    ) -> anyhow::Result<()> {
        let (worker, docker, sweeper) = (&self.worker, self.worker.docker.clone(), Arc::clone(&self.sweeper));
        // The runs of the ones before come first: they are the oldest.
        if let Some(named) = sweeper.reconcile().await {
            home.inherit(&worker.id, named).context("the data folder can't be written")?;
            if let Err(error) = docker.remove_old_init_volumes().await {
                warn!(log, "old volumes can't be looked for"; "error" => %error);
            }
        }
        run_in_background("sweeper", fatal, log, move || Arc::clone(&sweeper).run());
        let of = Arc::clone(worker);
        run_in_background("holders", fatal, log, move || holders::run(Arc::clone(&of)));
        let (of, own) = (Arc::clone(worker), log.new(o!("part" => "environments")));
        run_in_background("environments", fatal, log, move || {
            environments::run(Arc::clone(&of), own.clone())
        });
        let (of, own) = (Arc::clone(worker), log.new(o!("part" => "images")));
        run_in_background("images", fatal, log, move || images::run(Arc::clone(&of), own.clone()));
        let (of, told) = (Arc::clone(worker), Arc::clone(readiness));
        run_in_background("images here", fatal, log, move || {
            images::report(Arc::clone(&of), Arc::clone(&told))
        });
        let (of, engine, own) = (Arc::clone(&worker.settings), docker.clone(), log.new(o!()));
        run_in_background("fence", fatal, log, move || {
            docker_engine::mend_fence(Arc::clone(&of), engine.clone(), own.clone())
        });
        let (readiness, backlog, own) = (Arc::clone(readiness), self.backlog.clone(), log.new(o!()));
        run_in_background("engine watch", fatal, log, move || {
            docker_engine::watch(docker.clone(), Arc::clone(&readiness), backlog.clone(), own.clone())
        });
        Ok(())
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
        self.worker.docker.close_holders();
        let grace = REMOVAL_GRACE + REMOVAL_GRACE_OF_A_SLOT * self.worker.settings.worker.slots as u32;
        let cleared = async {
            self.worker.docker.removals_finished().await;
            self.sweeper.remove_strays().await;
            self.worker.docker.removals_finished().await;
        };
        if tokio::time::timeout(grace, cleared).await.is_err() {
            let left = self.worker.docker.remaining_containers().join(" ");
            warn!(log, "containers are left for the next start: Docker does not answer"; "containers" => left);
        }
        if let Err(error) = self.worker.store.mark_worker_stopped(&self.worker.id).await {
            warn!(log, "the worker's end could not be noted"; "error" => %error);
        }
    }
}

/// What any daemon does for the whole deployment.
fn look_after(
    store: &Store,
    settings: &Arc<Settings>,
    budget: &DiskBudget,
    fatal: &FatalError,
    log: &Logger,
) {
    let (of, webhook, own) = (store.clone(), settings.webhook.clone(), log.new(o!("part" => "webhooks")));
    run_in_background("webhooks", fatal, log, move || {
        webhooks::run(of.clone(), webhook.clone(), own.clone())
    });
    let (of, budget, rules) = (store.clone(), budget.clone(), settings.retention.clone());
    let own = log.new(o!("part" => "retention"));
    run_in_background("retention", fatal, log, move || {
        retention::run(of.clone(), budget.clone(), rules.clone(), own.clone())
    });
}

/// With the other processes on this database.
fn exchange_news(store: &Store, fatal: &FatalError, log: &Logger) -> anyhow::Result<()> {
    let (teller, telling) = (store.clone(), log.new(o!()));
    run_in_background("news", fatal, log, move || {
        let (store, log) = (teller.clone(), telling.clone());
        async move { store.send_notifications(log).await }
    });
    store.listen_for_notifications(log.new(o!())).context("the thread that listens for news can't be started")
}
