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
use super::{engine, logging, resume, signals, sweeper, webhooks};
use crate::actors::{Drain, Fatal, Poller, Recorder, Worker};
use crate::execution::WorkerId;
use crate::http::{self, Api, Readiness};
use crate::settings::Settings;
use crate::store::{Budget, Store};

/// How long open requests may go on when everything else has stopped.
const HTTP_GRACE: Duration = Duration::from_secs(5);

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
    system.block_on(async {
        let fatal = Fatal::default();
        let daemon = Daemon::start(settings, role, database, home, &fatal, log).await?;
        tokio::select! {
            () = daemon.serve_until(stop, log) => Ok(ExitCode::SUCCESS),
            // As with kill -9, nothing is lost: the next start takes over.
            reason = fatal.told() => Err(anyhow!(reason).context("this worker cannot go on")),
        }
    })
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
        exchange_news(&database.store, log)?;
        let readiness = Arc::new(Readiness::default());
        let budget = Budget::new(settings.retention.disk_budget.0, 2 * settings.execution.output_limit.0);
        let work = match role.works() {
            true => Some(Work::start(&settings, database, home, &readiness, &budget, fatal, log).await?),
            false => None,
        };
        actix_rt::spawn(webhooks::send_for_ever(
            database.store.clone(),
            settings.webhook.clone(),
            log.new(o!()),
        ));
        actix_rt::spawn(sweeper::sweep_for_ever(
            database.store.clone(),
            budget.clone(),
            settings.retention.clone(),
            log.new(o!()),
        ));
        let api =
            Api::new(database.store.clone(), Arc::clone(&settings), Arc::clone(&readiness), budget, log);
        let (server, address) = http::serve(api, settings.http.listen.0).with_context(|| {
            format!(
                "http.listen: {} can't be listened at; is another rgridd running there?",
                settings.http.listen.0
            )
        })?;
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
        let store = database.store.clone();
        let id = WorkerId::generate();
        let predecessor = home.predecessor.take();
        let cluster = store.cluster().await?;
        let docker = engine::open(settings, cluster, &id, log).await?;
        store.register_worker(&id, &settings.worker.name, settings.worker.slots).await?;
        let recorder = Recorder::new(store.clone(), fatal.clone(), log).start();
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
        // The runs of the one before come first: they are the oldest.
        resume::sweep(&worker, &poller, predecessor.as_ref(), log).await;
        // From now on the next start takes over from this one.
        home.sign(&worker.id).context("the data folder can't be written")?;
        actix_rt::spawn(resume::sweep_for_ever(
            Arc::clone(&worker),
            poller.clone(),
            predecessor,
            log.new(o!()),
        ));
        actix_rt::spawn(engine::watch(docker, Arc::clone(readiness), log.new(o!())));
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
        self.worker.docker.settled().await;
        if let Err(error) = self.worker.store.worker_stopped(&self.worker.id).await {
            warn!(log, "the worker's end could not be noted"; "error" => %error);
        }
    }
}

/// With the other processes on this database.
fn exchange_news(store: &Store, log: &Logger) -> anyhow::Result<()> {
    let (teller, telling) = (store.clone(), log.new(o!()));
    actix_rt::spawn(async move { teller.tell_others(telling).await });
    store.listen_to_others(log.new(o!())).context("the thread that listens for news can't be started")
}
