//! Removal of containers, behind everybody's back: nobody waits for it, and no error path skips it.

use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::RemoveContainerOptions;
use slog::{Logger, warn};
use tokio::sync::{Semaphore, mpsc, watch};

use super::error::{is_conflict, is_missing};

/// Removals at once. More only makes Docker slower for those who wait for a sandbox.
const AT_ONCE: usize = 2;
const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(super) struct Reaper {
    queue: mpsc::UnboundedSender<String>,
    /// Removals that are not done.
    open: Arc<watch::Sender<usize>>,
}

impl Reaper {
    /// Must be called within the async runtime.
    pub fn start(api: bollard::Docker, log: Logger) -> Self {
        let (queue, mut containers) = mpsc::unbounded_channel::<String>();
        let open = Arc::new(watch::channel(0).0);
        let counter = Arc::clone(&open);
        let places = Arc::new(Semaphore::new(AT_ONCE));
        tokio::spawn(async move {
            while let Some(container) = containers.recv().await {
                let place = Arc::clone(&places).acquire_owned().await;
                let (api, log, counter) = (api.clone(), log.clone(), Arc::clone(&counter));
                tokio::spawn(async move {
                    remove(&api, &container, &log).await;
                    counter.send_modify(|open| *open -= 1);
                    drop(place);
                });
            }
        });
        Self { queue, open }
    }

    pub fn take(&self, container: String) {
        self.open.send_modify(|open| *open += 1);
        if self.queue.send(container).is_err() {
            // The runtime is gone; the next start sweeps.
            self.open.send_modify(|open| *open -= 1);
        }
    }

    pub async fn settled(&self) {
        let mut open = self.open.subscribe();
        // The sender lives as long as this.
        let _ = open.wait_for(|open| *open == 0).await;
    }
}

async fn remove(api: &bollard::Docker, container: &str, log: &Logger) {
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=TRIES {
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        match api.remove_container(container, Some(options)).await {
            Ok(()) => return,
            // Gone, or going: somebody else removes it at this moment.
            Err(error) if is_missing(&error) || is_conflict(&error) => return,
            Err(error) => {
                warn!(log, "a container was not removed"; "container" => container, "try" => attempt, "error" => %error);
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
}
