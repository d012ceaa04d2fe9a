//! Removal of containers, and of volumes that go with them, behind everybody's back: nobody waits for it, and no
//! error path skips it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::query_parameters::{RemoveContainerOptions, RemoveVolumeOptions};
use slog::{Logger, warn};
use tokio::sync::{Semaphore, watch};

use crate::failpoint;
use crate::sandbox::error::{answered, is_conflict, is_missing};
use crate::sandbox::network::holders::Lodging;

/// Removals at once. More only makes Docker slower for those who wait for a sandbox.
const AT_ONCE: usize = 2;
/// Between two tries. They go on for as long as Docker is away: nothing new is made meanwhile, so what waits is
/// bounded by what was there.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(crate) struct Reaper {
    api: bollard::Docker,
    places: Arc<Semaphore>,
    /// Removals that are not done.
    open: Arc<watch::Sender<usize>>,
    /// Containers that have a sandbox in this process, or are being removed.
    known: Arc<Mutex<HashSet<String>>>,
    log: Logger,
}

impl Reaper {
    pub fn new(api: bollard::Docker, log: Logger) -> Self {
        Self {
            api,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            open: Arc::new(watch::channel(0).0),
            known: Arc::default(),
            log,
        }
    }

    pub fn note(&self, container: &str) {
        self.known().insert(container.to_owned());
    }

    pub fn forget(&self, container: &str) {
        self.known().remove(container);
    }

    pub fn is_known(&self, container: &str) -> bool {
        self.known().contains(container)
    }

    pub fn all_known(&self) -> Vec<String> {
        self.known().iter().cloned().collect()
    }

    /// Must be called within the async runtime; without one the next start sweeps.
    pub fn take(&self, doomed: Doomed) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut removal = Removal::new(self.clone(), doomed);
        runtime.spawn(async move {
            removal.insist().await;
            removal.vacate();
        });
    }

    /// Until it is dropped, things have not settled.
    pub fn pending(&self) -> Pending {
        self.open.send_modify(|open| *open += 1);
        Pending(Arc::clone(&self.open))
    }

    pub async fn settled(&self) {
        let mut open = self.open.subscribe();
        // The sender lives as long as this.
        let _ = open.wait_for(|open| *open == 0).await;
    }

    fn known(&self) -> MutexGuard<'_, HashSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Pending(Arc<watch::Sender<usize>>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// What is to be removed: first the container, then what goes with it.
pub(crate) struct Doomed {
    container: String,
    volume: Option<String>,
    lodging: Option<Lodging>,
    /// Something may have gone through its network.
    used: bool,
}

impl Doomed {
    pub fn container(container: String) -> Self {
        Self { container, volume: None, lodging: None, used: true }
    }

    pub fn with_lodging(container: String, volume: Option<String>, lodging: Lodging, used: bool) -> Self {
        Self { container, volume, lodging: Some(lodging), used }
    }
}

/// A removal that is under way. However it ends, also by a panic, it is counted off, and the container is no longer
/// known: if it is still there, the next sweep finds it.
struct Removal {
    reaper: Reaper,
    doomed: Doomed,
    _pending: Pending,
}

impl Removal {
    fn new(reaper: Reaper, doomed: Doomed) -> Self {
        let pending = reaper.pending();
        reaper.note(&doomed.container);
        Self { reaper, doomed, _pending: pending }
    }

    /// The container is gone: its place in a network is free.
    fn vacate(&mut self) {
        if let Some(lodging) = self.doomed.lodging.take() {
            lodging.leave(self.doomed.used);
        }
    }

    async fn insist(&self) {
        let mut pause = FIRST_PAUSE;
        while let Err(error) = self.attempt().await {
            warn!(self.reaper.log, "a container is not removed yet"; "container" => &self.doomed.container,
                "volume" => self.doomed.volume.as_deref(), "error" => %error);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Has its place only for as long as it takes: what can't be removed keeps nothing else from going.
    async fn attempt(&self) -> Result<(), bollard::errors::Error> {
        // They are never closed.
        let _place = self.reaper.places.acquire().await.ok();
        failpoint::hit("reaper.removing").await;
        let api = &self.reaper.api;
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        missing_is_fine(answered(api.remove_container(&self.doomed.container, Some(options))).await)?;
        let Some(volume) = &self.doomed.volume else { return Ok(()) };
        match answered(api.remove_volume(volume, None::<RemoveVolumeOptions>)).await {
            // Another sandbox has it, so it was written down after all; else the sweep of environments finds it.
            Err(error) if is_conflict(&error) => Ok(()),
            removed => missing_is_fine(removed),
        }
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        self.reaper.forget(&self.doomed.container);
    }
}

/// But not a conflict: somebody else removes it at this moment, and it may not work for them.
fn missing_is_fine(removed: Result<(), bollard::errors::Error>) -> Result<(), bollard::errors::Error> {
    match removed {
        Err(error) if is_missing(&error) => Ok(()),
        other => other,
    }
}
