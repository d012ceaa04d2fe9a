//! Removes environments (volumes with installed packages) that are no longer needed, and the leftovers of failed builds.

use std::{collections::HashSet, sync::Arc, time::Duration};

use slog::{Logger, info, warn};

use crate::sandbox::{DockerError, EnvironmentVolumes};
use crate::settings::Environments;
use crate::store::{StoreError, StoredEnvironment};
use crate::worker::Worker;

/// Longer than the time between creating a volume and starting its builder, and than the time between reading an
/// environment from the database and starting the container that uses it.
const GRACE_PERIOD: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub(crate) enum SweepError {
    #[error(transparent)]
    Docker(#[from] DockerError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Never returns.
pub(crate) async fn run(worker: Arc<Worker>, log: Logger) {
    let mut cleaner = EnvironmentCleaner { worker, orphans: HashSet::new(), log };
    loop {
        if let Err(error) = cleaner.sweep().await {
            warn!(cleaner.log, "cannot remove old environments"; "error" => %error);
        }
        let interval = cleaner.worker.settings.environments.sweep_interval.0;
        let pause = if cleaner.orphans.is_empty() { interval } else { interval.min(GRACE_PERIOD) };
        tokio::time::sleep(pause).await;
    }
}

struct EnvironmentCleaner {
    worker: Arc<Worker>,
    /// Volumes that the last sweep found neither in the database nor in use.
    orphans: HashSet<String>,
    log: Logger,
}

impl EnvironmentCleaner {
    async fn sweep(&mut self) -> Result<(), SweepError> {
        let (store, docker) = (&self.worker.store, &self.worker.docker);
        let engine = docker.engine_id().await?;
        let volumes = docker.environment_volumes().await?;
        // Read after the volumes, so that a volume that is registered in between is not taken for an orphan.
        let stored = store.environments(&engine).await?;
        // An operator may have removed volumes by hand.
        for missing in stored.iter().filter(|environment| !volumes.all.contains(&environment.volume)) {
            store.forget_environment(&engine, &missing.volume).await?;
        }
        let total = stored.iter().map(StoredEnvironment::size).sum();
        let unused = stored.iter().filter(|environment| !volumes.in_use.contains(&environment.volume));
        let unused = unused.map(|environment| (environment, environment.idle(), environment.size()));
        for old in beyond_limits(unused, total, &self.worker.settings.environments) {
            // Removed from the database first, so that no execution can select it any more.
            if store.retire_environment(&engine, old).await? {
                info!(self.log, "removing an old environment"; "environment" => &old.volume,
                    "idle_s" => old.idle().as_secs(), "bytes" => old.size());
                docker.remove_environment(&old.volume).await?;
            }
        }
        let orphans = orphans(&volumes, &stored);
        // Only those of the previous sweep, because a volume exists shortly before its builder does.
        for volume in orphans.intersection(&self.orphans) {
            info!(self.log, "removing the leftovers of a build"; "environment" => volume);
            docker.remove_environment(volume).await?;
        }
        self.orphans = orphans;
        Ok(())
    }
}

/// Selects the environments that exceed the maximum age, and the least recently used ones while `total` exceeds the
/// maximum size. `unused` is sorted by idle time, longest first.
fn beyond_limits<T>(
    unused: impl IntoIterator<Item = (T, Duration, u64)>,
    mut total: u64,
    limits: &Environments,
) -> Vec<T> {
    let mut selected = Vec::new();
    for (environment, idle, size) in unused {
        if idle > limits.max_age.0 || total > limits.max_size.0 {
            total = total.saturating_sub(size);
            selected.push(environment);
        }
    }
    selected
}

fn orphans(volumes: &EnvironmentVolumes, stored: &[StoredEnvironment]) -> HashSet<String> {
    let registered: HashSet<&String> = stored.iter().map(|environment| &environment.volume).collect();
    let unknown = volumes.all.iter().filter(|volume| !registered.contains(volume));
    unknown.filter(|volume| !volumes.in_use.contains(*volume)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Bytes, Period};

    #[test]
    fn environments_beyond_the_age_or_the_total_size_are_selected() {
        let limits = Environments {
            max_age: Period(Duration::from_secs(100)),
            max_size: Bytes(50),
            sweep_interval: Period(Duration::from_secs(1)),
        };
        for (unused, total, expected) in [
            (&[] as &[(u64, u64)], 0, &[] as &[usize]),
            (&[(100, 10)], 10, &[]),
            (&[(101, 10)], 10, &[0]),
            (&[(90, 30), (80, 30)], 60, &[0]),
            (&[(90, 5), (80, 5), (70, 50)], 60, &[0, 1]),
            // Environments that are in use count towards the total, but are not selected.
            (&[(90, 10)], 200, &[0]),
            (&[(200, 60), (90, 40)], 100, &[0]),
        ] {
            let numbered = unused.iter().enumerate();
            let unused = numbered.map(|(n, (idle, size))| (n, Duration::from_secs(*idle), *size));
            assert_eq!(
                beyond_limits(unused.clone(), total, &limits),
                expected,
                "{:?}",
                unused.collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn a_volume_that_is_neither_stored_nor_in_use_is_an_orphan() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<HashSet<_>>();
        let volumes =
            EnvironmentVolumes { all: set(&["built", "building", "left"]), in_use: set(&["building"]) };
        assert_eq!(orphans(&volumes, &[]), set(&["built", "left"]));
    }
}
