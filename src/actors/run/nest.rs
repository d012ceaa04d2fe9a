//! The sandbox that a slot keeps ready for its next run.

use std::sync::Arc;

use slog::debug;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::actors::Worker;
use crate::metrics::{METRICS, Raised};
use crate::sandbox::{DockerError, Profile, Sandbox};

/// At most one sandbox, parked or on its way there.
#[derive(Default)]
pub(in crate::actors) struct Nest(Option<Parked>);

struct Parked {
    profile: Profile,
    since: Instant,
    task: JoinHandle<Result<Sandbox, DockerError>>,
    _counted: Raised,
}

impl Nest {
    /// Starts to park one; nothing waits for it until a run needs it.
    pub fn prepare(worker: &Arc<Worker>, profile: Profile) -> Self {
        if worker.settings.sandbox.parked == 0 || worker.is_draining() {
            return Self(None);
        }
        let (shared, wanted) = (Arc::clone(worker), profile.clone());
        let task = actix_rt::spawn(async move { shared.docker.park(&wanted).await });
        Self(Some(Parked { profile, since: Instant::now(), task, _counted: METRICS.parked.raise() }))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Too old to be trusted for long: the init ends by itself at its `park_ttl`.
    pub fn is_stale(&self, worker: &Worker) -> bool {
        let ttl = worker.settings.sandbox.park_ttl.0;
        self.0.as_ref().is_some_and(|parked| parked.since.elapsed() > ttl * 3 / 4)
    }

    /// The parked sandbox if it fits, also when it is only on its way; else a new one.
    pub async fn sandbox(mut self, worker: &Worker, profile: &Profile) -> Result<Sandbox, DockerError> {
        let stale = self.is_stale(worker);
        if let Some(parked) = self.0.take() {
            if parked.profile == *profile && !stale {
                match parked.task.await {
                    Ok(Ok(sandbox)) => return Ok(sandbox),
                    failed => {
                        debug!(worker.log, "parking had failed"; "how" => ?failed.map(|r| r.map(|_| ())))
                    }
                }
            } else {
                // Another profile is needed now. Dropping a sandbox removes its container.
                drop(actix_rt::spawn(parked.task));
            }
        }
        // A task of its own: dropped halfway through, Docker would go on and nobody know the container.
        let (docker, wanted) = (worker.docker.clone(), profile.clone());
        let parked = actix_rt::spawn(async move { docker.park(&wanted).await }).await;
        parked.unwrap_or_else(|stopped| Err(DockerError::Mute(stopped.to_string())))
    }

    /// Removes what is parked, and waits until it is gone.
    pub async fn clear(mut self) {
        if let Some(parked) = self.0.take()
            && let Ok(Ok(sandbox)) = parked.task.await
        {
            drop(sandbox);
        }
    }
}
