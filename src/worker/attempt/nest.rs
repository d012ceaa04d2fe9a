//! The sandbox that a slot keeps ready for its next run.

use std::sync::Arc;

use slog::debug;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::failpoint;
use crate::metrics::{METRICS, Raised};
use crate::sandbox::{DockerError, Profile, Sandbox};
use crate::worker::Worker;

/// At most one sandbox, parked or on its way there.
#[derive(Default)]
pub(crate) struct Nest(Option<Parked>);

struct Parked {
    profile: Profile,
    since: Instant,
    /// None: nobody wanted it any more before it was begun.
    task: JoinHandle<Option<Result<Sandbox, DockerError>>>,
    wish: watch::Sender<Wish>,
    _counted: Raised,
}

/// What a sandbox on its way is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// Wait until nobody else waits.
    InTime,
    /// A run waits for it.
    Now,
    Never,
}

impl Nest {
    /// Starts to park one; nothing waits for it until a run needs it.
    pub fn prepare(worker: &Arc<Worker>, profile: Profile) -> Self {
        if worker.settings.sandbox.parked == 0 || worker.is_draining() {
            return Self(None);
        }
        let (wish, wishes) = watch::channel(Wish::InTime);
        let task = actix_rt::spawn(park(Arc::clone(worker), profile.clone(), wishes));
        Self(Some(Parked { profile, since: Instant::now(), task, wish, _counted: METRICS.parked.raise() }))
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
        let _first = worker.docker.foreground();
        let stale = self.is_stale(worker);
        if let Some(parked) = self.0.take() {
            if parked.profile == *profile && !stale {
                parked.wish.send_replace(Wish::Now);
                match parked.task.await {
                    Ok(Some(Ok(sandbox))) => return Ok(sandbox),
                    failed => {
                        debug!(worker.log, "parking had failed"; "how" => ?failed.map(|r| r.map(|r| r.map(drop))))
                    }
                }
            } else {
                // Another profile is needed now. Dropping a sandbox removes its container.
                parked.wish.send_replace(Wish::Never);
                drop(actix_rt::spawn(parked.task));
            }
        }
        // A task of its own: dropped halfway through, Docker would go on and nobody know the container.
        let (docker, wanted) = (worker.docker.clone(), profile.clone());
        let parked = actix_rt::spawn(async move { docker.create_sandbox(&wanted).await }).await;
        parked.unwrap_or_else(|stopped| Err(DockerError::NoHandshake(stopped.to_string())))
    }

    /// Removes what is parked, and waits until it is gone.
    pub async fn clear(mut self) {
        if let Some(parked) = self.0.take() {
            parked.wish.send_replace(Wish::Never);
            if let Ok(Some(Ok(sandbox))) = parked.task.await {
                drop(sandbox);
            }
        }
    }
}

/// Again and again while Docker is away; a run that waits hears of a failure at once.
async fn park(
    worker: Arc<Worker>,
    profile: Profile,
    mut wishes: watch::Receiver<Wish>,
) -> Option<Result<Sandbox, DockerError>> {
    loop {
        let _turn = tokio::select! {
            biased;
            // Whoever has dropped the nest wants nothing of it any more.
            changed = wishes.wait_for(|wish| *wish != Wish::InTime) => {
                if changed.map_or(Wish::Never, |wish| *wish) == Wish::Never {
                    return None;
                }
                None
            }
            turn = worker.docker.background() => Some(turn),
        };
        failpoint::hit("nest.parking").await;
        let parked = worker.docker.create_sandbox(&profile).await;
        failpoint::hit("nest.parked").await;
        match parked {
            Err(error) if error.is_transient() && *wishes.borrow() == Wish::InTime => {
                debug!(worker.log, "parking is tried again"; "error" => %error);
            }
            other => return Some(other),
        }
    }
}
