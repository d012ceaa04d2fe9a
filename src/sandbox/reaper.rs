//! Removal of containers, behind everybody's back: nobody waits for it, and no error path skips it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::query_parameters::RemoveContainerOptions;
use slog::{Logger, warn};
use tokio::sync::{Semaphore, watch};

use super::error::{answered, is_missing};
use crate::failpoint;

/// Removals at once. More only makes Docker slower for those who wait for a sandbox.
const AT_ONCE: usize = 2;
/// Between two tries. They go on for as long as Docker is away: nothing new is made meanwhile, so what waits is
/// bounded by what was there.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Reaper {
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

    /// Must be called within the async runtime; without one the next start sweeps.
    pub fn take(&self, container: String) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let removal = Removal::new(self.clone(), container);
        runtime.spawn(async move {
            let reaper = &removal.reaper;
            let _place = reaper.places.acquire().await;
            failpoint::hit("reaper.removing").await;
            remove(&reaper.api, &removal.container, &reaper.log).await;
        });
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

/// A removal that is under way. However it ends, also by a panic, it is counted off, and the container is no longer
/// known: if it is still there, the next sweep finds it.
struct Removal {
    reaper: Reaper,
    container: String,
}

impl Removal {
    fn new(reaper: Reaper, container: String) -> Self {
        reaper.open.send_modify(|open| *open += 1);
        reaper.note(&container);
        Self { reaper, container }
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        self.reaper.forget(&self.container);
        self.reaper.open.send_modify(|open| *open -= 1);
    }
}

async fn remove(api: &bollard::Docker, container: &str, log: &Logger) {
    let mut pause = FIRST_PAUSE;
    loop {
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        match answered(api.remove_container(container, Some(options))).await {
            Ok(()) => return,
            Err(error) if is_missing(&error) => return,
            // Also when somebody else removes it at this moment: it may not work for them.
            Err(error) => {
                warn!(log, "a container is not removed yet"; "container" => container, "error" => %error);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
