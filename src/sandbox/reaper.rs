//! Removes containers, and the volumes that go with them, in the background. Dropping a sandbox requests its removal, so
//! no error path can skip it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as BollardError;
use bollard::query_parameters::{RemoveContainerOptions, RemoveVolumeOptions};
use parking_lot::Mutex;
use slog::{Logger, warn};
use tokio::sync::{Semaphore, watch};

use crate::failpoint;
use crate::sandbox::error::{is_conflict, is_missing, with_timeout};
use crate::sandbox::network::holders::Lodging;

/// More concurrent removals would slow down Docker for executions that wait for a sandbox.
const CONCURRENT_REMOVALS: usize = 2;
/// Pause between two attempts. They continue as long as Docker is unreachable; no containers are created meanwhile, so
/// the number of pending removals is bounded.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(crate) struct Reaper {
    api: bollard::Docker,
    permits: Arc<Semaphore>,
    /// Number of [`Pending`] guards.
    pending: Arc<watch::Sender<usize>>,
    /// Containers that a sandbox of this process owns, or that are being removed.
    tracked: Arc<Mutex<HashSet<String>>>,
    log: Logger,
}

impl Reaper {
    pub fn new(api: bollard::Docker, log: Logger) -> Self {
        Self {
            api,
            permits: Arc::new(Semaphore::new(CONCURRENT_REMOVALS)),
            pending: Arc::new(watch::channel(0).0),
            tracked: Arc::default(),
            log,
        }
    }

    pub fn track(&self, container: &str) {
        self.tracked.lock().insert(container.to_owned());
    }

    pub fn untrack(&self, container: &str) {
        self.tracked.lock().remove(container);
    }

    /// Whether a sandbox of this process owns the container, or its removal is in progress.
    pub fn is_tracked(&self, container: &str) -> bool {
        self.tracked.lock().contains(container)
    }

    pub fn tracked(&self) -> Vec<String> {
        self.tracked.lock().iter().cloned().collect()
    }

    /// Starts a removal. Outside the async runtime it does nothing, and the recovery at the next start removes the container.
    pub fn remove(&self, request: RemovalRequest) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        self.track(&request.container);
        let mut removal = Removal { reaper: self.clone(), request, _pending: self.pending() };
        runtime.spawn(async move {
            removal.retry().await;
            // The container is gone, so its network may be lent again.
            if let Some(lodging) = removal.request.lodging.take() {
                lodging.leave(removal.request.network_used);
            }
        });
    }

    /// [`Reaper::finished`] waits until the guard is dropped.
    pub fn pending(&self) -> Pending {
        self.pending.send_modify(|pending| *pending += 1);
        Pending(Arc::clone(&self.pending))
    }

    /// Waits until all removals are finished.
    pub async fn finished(&self) {
        // Cannot fail, because `self` owns the sender.
        let _ = self.pending.subscribe().wait_for(|pending| *pending == 0).await;
    }
}

pub(crate) struct Pending(Arc<watch::Sender<usize>>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.send_modify(|pending| *pending -= 1);
    }
}

/// A container to remove, and what is released afterwards.
pub(crate) struct RemovalRequest {
    pub container: String,
    pub volume: Option<String>,
    pub lodging: Option<Lodging>,
    pub network_used: bool,
}

impl RemovalRequest {
    pub fn container(container: String) -> Self {
        Self { container, volume: None, lodging: None, network_used: true }
    }
}

/// A removal in progress. Dropping it, even by a panic, untracks the container: if it still exists, the recovery finds it.
struct Removal {
    reaper: Reaper,
    request: RemovalRequest,
    _pending: Pending,
}

impl Removal {
    async fn retry(&self) {
        let mut pause = MIN_PAUSE;
        while let Err(error) = self.attempt().await {
            warn!(self.reaper.log, "a container could not be removed yet"; "container" => &self.request.container,
                "volume" => self.request.volume.as_deref(), "error" => %error);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Holds a permit only for one attempt, so that a container that cannot be removed does not block the others.
    async fn attempt(&self) -> Result<(), BollardError> {
        // The semaphore is never closed.
        let _permit = self.reaper.permits.acquire().await.ok();
        failpoint::hit("reaper.removing").await;
        let api = &self.reaper.api;
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        let removed = with_timeout(api.remove_container(&self.request.container, Some(options))).await;
        // A conflict is not success: another removal is in progress, and may fail.
        removed.or_else(|error| if is_missing(&error) { Ok(()) } else { Err(error) })?;
        let Some(volume) = &self.request.volume else { return Ok(()) };
        match with_timeout(api.remove_volume(volume, None::<RemoveVolumeOptions>)).await {
            // On a conflict, another sandbox uses the environment, so it was recorded after all.
            Err(error) if !is_missing(&error) && !is_conflict(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        self.reaper.untrack(&self.request.container);
    }
}
