//! Keeps network namespaces ready for sandboxes.

use std::{sync::Arc, time::Duration};

use slog::warn;

use crate::sandbox::DockerError;
use crate::worker::Worker;

/// How often expired holders are replaced; a missing one is replaced as soon as it is reported.
const INTERVAL: Duration = Duration::from_secs(20);

/// Never returns.
pub(crate) async fn run(worker: Arc<Worker>) {
    loop {
        if let Err(error) = maintain(&worker).await {
            warn!(worker.log, "cannot prepare a network for sandboxes"; "error" => %error);
            tokio::time::sleep(INTERVAL).await;
        }
        let _ = tokio::time::timeout(INTERVAL, worker.docker.holders.needed()).await;
    }
}

async fn maintain(worker: &Worker) -> Result<(), DockerError> {
    let Some(runtime) = worker.runtimes.get(worker.runtimes.default_name()) else { return Ok(()) };
    let image = worker.docker.image(&runtime.image, runtime.pull).await?;
    worker.docker.maintain_holders(&image).await
}
