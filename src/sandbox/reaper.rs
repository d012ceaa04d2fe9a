//! Removal of containers, and of volumes that go with them, behind everybody's back: nobody waits for it, and no error path skips it.

use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::{RemoveContainerOptions, RemoveVolumeOptions};
use slog::{Logger, warn};
use tokio::sync::{Semaphore, mpsc, watch};

use super::error::{is_conflict, is_missing};

/// Removals at once. More only makes Docker slower for those who wait for a sandbox.
const AT_ONCE: usize = 2;
const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(super) struct Reaper {
    queue: mpsc::UnboundedSender<Rubbish>,
    /// Removals that are not done.
    open: Arc<watch::Sender<usize>>,
}

struct Rubbish {
    container: String,
    /// Can only go once the container is gone.
    volume: Option<String>,
}

impl Reaper {
    /// Must be called within the async runtime.
    pub fn start(api: bollard::Docker, log: Logger) -> Self {
        let (queue, mut rubbish) = mpsc::unbounded_channel::<Rubbish>();
        let open = Arc::new(watch::channel(0).0);
        let counter = Arc::clone(&open);
        let places = Arc::new(Semaphore::new(AT_ONCE));
        tokio::spawn(async move {
            while let Some(next) = rubbish.recv().await {
                let place = Arc::clone(&places).acquire_owned().await;
                let (api, log, counter) = (api.clone(), log.clone(), Arc::clone(&counter));
                tokio::spawn(async move {
                    remove(&api, &next, &log).await;
                    counter.send_modify(|open| *open -= 1);
                    drop(place);
                });
            }
        });
        Self { queue, open }
    }

    pub fn take(&self, container: String, volume: Option<String>) {
        self.open.send_modify(|open| *open += 1);
        if self.queue.send(Rubbish { container, volume }).is_err() {
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

async fn remove(api: &bollard::Docker, rubbish: &Rubbish, log: &Logger) {
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=TRIES {
        match try_remove(api, rubbish).await {
            Ok(()) => return,
            Err(error) => {
                warn!(log, "a container was not removed"; "container" => &rubbish.container,
                    "volume" => rubbish.volume.as_deref(), "try" => attempt, "error" => %error);
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
}

async fn try_remove(api: &bollard::Docker, rubbish: &Rubbish) -> Result<(), bollard::errors::Error> {
    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    match api.remove_container(&rubbish.container, Some(options)).await {
        // Gone, or going: somebody else removes it at this moment.
        Err(error) if !is_missing(&error) && !is_conflict(&error) => return Err(error),
        _ => {}
    }
    let Some(volume) = &rubbish.volume else { return Ok(()) };
    match api.remove_volume(volume, None::<RemoveVolumeOptions>).await {
        Err(error) if !is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}
