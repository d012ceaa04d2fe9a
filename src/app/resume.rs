//! What is left of workers that are gone: their runs are taken over, their containers removed.
//!
//! A container is found by its deployment's label. Its worker is gone for certain when it was the one
//! that held this data folder before; any other is taken for gone when it has been silent for a lease.

use std::sync::Arc;

use actix::Addr;
use slog::{Logger, info, warn};

use crate::actors::{Poller, Resume, TakeOver, Worker};
use crate::execution::{Claim, WorkerId};
use crate::sandbox::{DockerError, Found};
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
enum ResumeError {
    #[error(transparent)]
    Docker(#[from] DockerError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Once at the start, then once a lease.
pub(super) async fn sweep_for_ever(
    worker: Arc<Worker>,
    poller: Addr<Poller>,
    predecessor: Option<WorkerId>,
    log: Logger,
) {
    loop {
        sweep(&worker, &poller, predecessor.as_ref(), &log).await;
        tokio::time::sleep(worker.settings.worker.lease.0).await;
    }
}

/// What can't be looked after now stays for the next time.
pub(super) async fn sweep(
    worker: &Arc<Worker>,
    poller: &Addr<Poller>,
    predecessor: Option<&WorkerId>,
    log: &Logger,
) {
    let found = match worker.docker.find().await {
        Ok(found) => found,
        Err(error) => return warn!(log, "left-over sandboxes can't be looked for"; "error" => %error),
    };
    for container in found {
        let settled = settle(worker, poller, predecessor, &container, log).await;
        if let Err(error) = settled {
            warn!(log, "a left-over sandbox stays for now"; "container" => &container.container, "error" => %error);
        }
    }
}

async fn settle(
    worker: &Arc<Worker>,
    poller: &Addr<Poller>,
    predecessor: Option<&WorkerId>,
    found: &Found,
    log: &Logger,
) -> Result<(), ResumeError> {
    let owner = WorkerId::from_stored(found.worker.clone());
    if owner == worker.id || worker.took_over(&found.container) || !gone(worker, predecessor, &owner).await? {
        return Ok(());
    }
    if found.running && take_over(worker, poller, predecessor, found).await? {
        return Ok(());
    }
    info!(log, "removing a left-over sandbox"; "container" => &found.container, "of" => %owner);
    worker.docker.remove(&found.container).await;
    Ok(())
}

async fn gone(worker: &Worker, predecessor: Option<&WorkerId>, who: &WorkerId) -> Result<bool, StoreError> {
    let lease = worker.settings.worker.lease.0;
    Ok(predecessor == Some(who) || !worker.store.worker_may_live(who, lease).await?)
}

/// Whether the container runs an attempt that somebody owns: this worker now, or another that lives.
async fn take_over(
    worker: &Arc<Worker>,
    poller: &Addr<Poller>,
    predecessor: Option<&WorkerId>,
    found: &Found,
) -> Result<bool, ResumeError> {
    let Ok((sandbox, _, job)) = worker.docker.reattach(found).await else {
        return Ok(false);
    };
    let job = job.as_deref().and_then(Claim::parse_job_id);
    let Some((execution, attempt)) = job else {
        return Ok(false);
    };
    let Some(abandoned) = worker.store.owner(&execution, attempt).await? else {
        return Ok(false);
    };
    // Its label names who made it; somebody else may have taken it over since.
    if abandoned.worker == worker.id || !gone(worker, predecessor, &abandoned.worker).await? {
        return Ok(true);
    }
    let lease = worker.settings.worker.lease.0;
    let adopted = worker.store.adopt(&abandoned, &worker.id, &worker.name, lease).await?;
    let Some(claimed) = adopted else {
        return Ok(false);
    };
    worker.note_taken_over(&found.container);
    let stored = worker.store.chunks(&claimed.claim).await?;
    let resume = Resume { sandbox: Box::new(sandbox), stored };
    Ok(poller.send(TakeOver { claimed, resume }).await.is_ok())
}
