//! The networks that are kept ready for sandboxes to come.

use std::sync::Arc;
use std::time::Duration;

use slog::warn;

use crate::sandbox::DockerError;
use crate::worker::Worker;

/// How often old ones are looked for; what is missing is told at once.
const TEND_EVERY: Duration = Duration::from_secs(20);

/// Never returns.
pub(crate) async fn tend_for_ever(worker: Arc<Worker>) {
    loop {
        if let Err(error) = tend(&worker).await {
            warn!(worker.log, "no network could be made ready"; "error" => %error);
            tokio::time::sleep(TEND_EVERY).await;
        }
        let _ = tokio::time::timeout(TEND_EVERY, worker.docker.holder_needed()).await;
    }
}

async fn tend(worker: &Worker) -> Result<(), DockerError> {
    let Some(runtime) = worker.runtimes.get(worker.runtimes.default_name()) else { return Ok(()) };
    let image = worker.docker.image(&runtime.image, runtime.pull).await?;
    worker.docker.maintain_holders(&image).await
}
