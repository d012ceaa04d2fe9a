//! The worker's actors and background loops.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use anyhow::Context;
use slog::{Logger, o, warn};
use tokio::sync::watch;

use crate::daemon::database::Database;
use crate::daemon::recovery::{ContainerReconciler, Predecessors};
use crate::daemon::{data_dir::DataDir, docker_engine, health, startup::Daemon, worker_name};
use crate::execution::{WorkerCondition, WorkerId};
use crate::maintenance::{environments, holders, images, run_in_background};
use crate::worker::{
    Backlog, Drain, Heartbeat, Poller, Recorder, StartLog, Worker, WorkerHandles, remove_start_logs,
};

/// How long a start waits for the executions of earlier workers.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time to remove the remaining containers after all executions have ended, plus some for each slot.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(14);
const REMOVAL_TIMEOUT_PER_SLOT: Duration = Duration::from_millis(500);

pub(super) struct WorkerRuntime {
    worker: Arc<Worker>,
    poller: Addr<Poller>,
    reconciler: Arc<ContainerReconciler>,
    backlog: Backlog,
}

impl WorkerRuntime {
    /// From here on, the worker claims executions, parks sandboxes and runs scripts.
    pub async fn start(daemon: &Daemon, database: &Database, data_dir: &mut DataDir) -> anyhow::Result<Self> {
        let Daemon { budget, fatal, log, .. } = daemon;
        let settings = worker_name::with_a_stable_name(&daemon.settings).await;
        // The API has a connection pool of its own.
        let store = database.store.with_own_pool((settings.database.connections * 3 / 8).max(1));
        let id = WorkerId::generate();
        let cluster = store.cluster().await?;
        // Before the worker owns anything, so that the next start takes over from it.
        data_dir.sign(&id).context("writing to the data directory failed")?;
        let starts = StartLog::create(&settings.data_dir, &id).context("creating the start log failed")?;
        // Before Docker, because a worker that is not registered counts as gone, and its containers are removed.
        let own = &settings.worker;
        store.register_worker(&id, &own.name, own.slots, &own.labels.0).await?;
        let connect = async {
            // Pulling an image may take minutes.
            let connected = docker_engine::connect(&settings, cluster, &id, log);
            let (docker, image) = daemon.unless_stopped(connected).await?;
            let firewall = docker_engine::prepare(&settings, &docker, &image, log).await?;
            anyhow::Ok((docker, firewall))
        };
        let (docker, firewall) = match connect.await {
            Ok(connected) => connected,
            Err(error) => {
                let _ = store.mark_worker_stopped(&id).await;
                return Err(error);
            }
        };
        let backlog = Backlog::default();
        let recorder = Recorder::start(store.clone(), backlog.clone(), fatal.clone(), log);
        let condition = firewall.as_ref().map(|firewall| firewall.condition.clone());
        let handles = WorkerHandles {
            store,
            docker,
            recorder,
            starts,
            budget: budget.clone(),
            fatal: fatal.clone(),
            condition: condition.unwrap_or_else(WorkerCondition::firewall_off),
        };
        let worker = Worker::new(id, settings, handles, log);
        let heartbeat = Heartbeat::start(Arc::clone(&worker));
        let poller = Poller::start(Arc::clone(&worker));
        let predecessors = Predecessors::read(&worker.settings.data_dir, data_dir.predecessors.clone());
        let reconciler =
            ContainerReconciler::new(Arc::clone(&worker), poller.clone(), heartbeat, predecessors);
        let runtime = Self { worker, poller, reconciler, backlog };
        if let Some(firewall) = firewall {
            let readiness = Arc::clone(&daemon.readiness);
            runtime.in_background(daemon, "firewall", move |worker, log| {
                firewall.clone().run(worker.condition.clone(), Arc::clone(&readiness), log)
            });
        }
        Ok(runtime)
    }

    /// Takes over from earlier workers, then starts the background loops.
    pub async fn reconcile_and_maintain(
        &self,
        daemon: &Daemon,
        data_dir: &mut DataDir,
    ) -> anyhow::Result<()> {
        let (docker, log) = (&self.worker.docker, &daemon.log);
        let reconciler = Arc::clone(&self.reconciler);
        let reconciled = actix_rt::spawn(async move { reconciler.reconcile().await });
        // After the timeout it goes on in the background, because one sandbox that hangs must not keep the API away.
        if let Ok(Ok(Some(predecessors))) = tokio::time::timeout(RECONCILE_TIMEOUT, reconciled).await {
            let writing = "writing to the data directory failed";
            data_dir.inherit(&self.worker.id, predecessors).context(writing)?;
            let kept = [data_dir.predecessors.as_slice(), std::slice::from_ref(&self.worker.id)].concat();
            remove_start_logs(&daemon.settings.data_dir, &kept).context(writing)?;
            if let Err(error) = docker.remove_old_init_volumes().await {
                warn!(log, "removing old init volumes failed"; "error" => %error);
            }
        }
        let reconciler = Arc::clone(&self.reconciler);
        run_in_background("reconciler", &daemon.fatal, log, move || Arc::clone(&reconciler).run());
        self.in_background(daemon, "holders", |worker, _| holders::run(worker));
        self.in_background(daemon, "environments", environments::run);
        self.in_background(daemon, "images", images::run);
        let readiness = Arc::clone(&daemon.readiness);
        self.in_background(daemon, "image check", move |worker, _| {
            health::report_images(worker, Arc::clone(&readiness))
        });
        let (readiness, backlog) = (Arc::clone(&daemon.readiness), self.backlog.clone());
        self.in_background(daemon, "health check", move |worker, log| {
            health::check(worker, Arc::clone(&readiness), backlog.clone(), log)
        });
        self.in_background(daemon, "engine watch", |worker, _| async move {
            worker.docker.watch_engine().await;
        });
        Ok(())
    }

    fn in_background<F, T>(&self, daemon: &Daemon, name: &'static str, start: F)
    where
        F: Fn(Arc<Worker>, Logger) -> T + 'static,
        T: Future<Output = ()> + 'static,
    {
        let (worker, log) = (Arc::clone(&self.worker), daemon.log.new(o!("part" => name)));
        run_in_background(name, &daemon.fatal, &daemon.log, move || start(Arc::clone(&worker), log.clone()));
    }

    /// Drains and removes all containers. `stop` counts signals; the second one ends the wait for running scripts.
    pub async fn stop(self, mut stop: watch::Receiver<u32>, log: &Logger) {
        let (sender, at_once) = watch::channel(false);
        actix_rt::spawn(async move {
            let _ = stop.wait_for(|signals| *signals > 1).await;
            let _ = sender.send(true);
            // The receiver must not see that the sender is dropped.
            sender.closed().await;
        });
        if let Err(error) = self.poller.send(Drain { at_once }).await {
            warn!(log, "the poller ended before the drain"; "error" => %error);
        }
        let docker = &self.worker.docker;
        docker.holders.close();
        let removed = async {
            docker.reaper.finished().await;
            self.reconciler.remove_strays().await;
            docker.reaper.finished().await;
        };
        let timeout = REMOVAL_TIMEOUT + REMOVAL_TIMEOUT_PER_SLOT * self.worker.settings.worker.slots as u32;
        if tokio::time::timeout(timeout, removed).await.is_err() {
            let remaining = docker.reaper.tracked().join(" ");
            warn!(log, "leaving containers to the next start, because Docker does not respond";
                "containers" => remaining);
        }
        if let Err(error) = self.worker.store.mark_worker_stopped(&self.worker.id).await {
            warn!(log, "marking the worker as stopped failed"; "error" => %error);
        }
    }
}
