//! Environments that nobody has needed for long are removed, and what was left of builds that did not end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, info, warn};

use crate::sandbox::{DockerError, EnvironmentVolumes};
use crate::store::{StoreError, StoredEnvironment};
use crate::worker::Worker;

/// Longer than it takes from a volume to its builder, or from a row to the container that uses it.
const SECOND_LOOK: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub(crate) enum SweepError {
    #[error(transparent)]
    Docker(#[from] DockerError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Never returns.
pub(crate) async fn sweep_for_ever(worker: Arc<Worker>, log: Logger) {
    let mut sweeper = Sweeper { worker, nobodys: HashSet::new(), log };
    loop {
        if let Err(error) = sweeper.sweep().await {
            warn!(sweeper.log, "old environments can't be looked after"; "error" => %error);
        }
        tokio::time::sleep(sweeper.pause()).await;
    }
}

struct Sweeper {
    worker: Arc<Worker>,
    /// Volumes that the last sweep has found neither written down nor in use.
    nobodys: HashSet<String>,
    log: Logger,
}

impl Sweeper {
    /// What seems to be nobody's is looked at again soon: it may have been given up to make room.
    fn pause(&self) -> Duration {
        let interval = self.worker.settings.environments.sweep_interval.0;
        if self.nobodys.is_empty() { interval } else { interval.min(SECOND_LOOK) }
    }

    async fn sweep(&mut self) -> Result<(), SweepError> {
        let engine = self.worker.docker.engine_id().await?;
        let volumes = self.worker.docker.environment_volumes().await?;
        // Read after the volumes: one that is written down in between is seen as such.
        let stored = self.worker.store.environments(&engine).await?;
        self.forget_pruned(&engine, &volumes, &stored).await?;
        for old in self.outlived(&volumes, stored.clone()) {
            self.retire(&engine, &old).await?;
        }
        self.remove_nobodys(&volumes, &stored).await
    }

    /// An operator may have removed their volumes.
    async fn forget_pruned(
        &self,
        engine: &str,
        volumes: &EnvironmentVolumes,
        stored: &[StoredEnvironment],
    ) -> Result<(), SweepError> {
        for gone in stored.iter().filter(|one| !volumes.all.contains(&one.volume)) {
            self.worker.store.forget_environment(engine, &gone.volume).await?;
        }
        Ok(())
    }

    /// Too old, or too much in all: those that were used longest ago, but none that a container has.
    fn outlived(
        &self,
        volumes: &EnvironmentVolumes,
        stored: Vec<StoredEnvironment>,
    ) -> Vec<StoredEnvironment> {
        let limits = &self.worker.settings.environments;
        let mut total: u64 = stored.iter().map(StoredEnvironment::size).sum();
        let mut outlived = Vec::new();
        for one in stored.into_iter().filter(|one| !volumes.in_use.contains(&one.volume)) {
            if one.idle() > limits.max_age.0 || total > limits.max_size.0 {
                total = total.saturating_sub(one.size());
                outlived.push(one);
            }
        }
        outlived
    }

    /// From the table first, so that no run gets it any more.
    async fn retire(&self, engine: &str, old: &StoredEnvironment) -> Result<(), SweepError> {
        if self.worker.store.retire_environment(engine, old).await? {
            info!(self.log, "removing an old environment"; "environment" => &old.volume,
                "idle_s" => old.idle().as_secs(), "bytes" => old.size());
            self.worker.docker.remove_environment(&old.volume).await?;
        }
        Ok(())
    }

    /// Only what was nobody's a sweep ago too: a volume is there a moment before its builder is.
    async fn remove_nobodys(
        &mut self,
        volumes: &EnvironmentVolumes,
        stored: &[StoredEnvironment],
    ) -> Result<(), SweepError> {
        let whole: HashSet<&String> = stored.iter().map(|one| &one.volume).collect();
        let nobodys: HashSet<String> = volumes
            .all
            .iter()
            .filter(|volume| !whole.contains(volume) && !volumes.in_use.contains(*volume))
            .cloned()
            .collect();
        for volume in nobodys.intersection(&self.nobodys) {
            info!(self.log, "removing what a build has left"; "environment" => volume);
            self.worker.docker.remove_environment(volume).await?;
        }
        self.nobodys = nobodys;
        Ok(())
    }
}
