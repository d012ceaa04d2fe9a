//! What is left of workers that are gone: their runs are taken over, their containers removed.
//!
//! A container is found by its deployment's label. Its worker is gone for certain when it was the one
//! that held this data folder before; any other is taken for gone when it has been silent for a lease.

use std::sync::Arc;

use actix::Addr;
use slog::{Logger, info, warn};

use crate::actors::{Poller, Resume, TakeOver, Worker};
use crate::execution::{Claim, Claimed, ExecutionId, WorkerId};
use crate::sandbox::{DockerError, Found};
use crate::store::{Chunk, StoreError};

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
    worker.docker.remove(&found.container);
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
    let Some((execution, attempt)) = job.as_deref().and_then(Claim::parse_job_id) else {
        return Ok(false);
    };
    let abandoned = match owner_of(worker, predecessor, &execution, attempt).await {
        Ok(Owner::Gone(claim)) => claim,
        Ok(Owner::Nobody) => return Ok(false),
        Ok(Owner::Alive) => {
            sandbox.abandon();
            return Ok(true);
        }
        Err(error) => {
            sandbox.abandon();
            return Err(error.into());
        }
    };
    let (claimed, stored) = match adopt(worker, &abandoned).await {
        Ok(adopted) => adopted,
        Err(error) => {
            sandbox.abandon();
            return Err(error.into());
        }
    };
    // None: another daemon was faster, and it has attached for itself.
    let Some(claimed) = claimed else {
        sandbox.abandon();
        return Ok(true);
    };
    worker.note_taken_over(&found.container);
    let resume = Resume { sandbox: Box::new(sandbox), stored };
    Ok(poller.send(TakeOver { claimed, resume }).await.is_ok())
}

/// What is stored of it is read first: nobody adds to it any more, and then nothing can fail.
async fn adopt(worker: &Worker, abandoned: &Claim) -> Result<(Option<Claimed>, Vec<Chunk>), StoreError> {
    let stored = worker.store.chunks(abandoned).await?;
    let lease = worker.settings.worker.lease.0;
    Ok((worker.store.adopt(abandoned, &worker.id, &worker.name, lease).await?, stored))
}

/// Whose a running attempt is.
enum Owner {
    /// It has ended, or goes on elsewhere under another attempt.
    Nobody,
    Alive,
    Gone(Claim),
}

async fn owner_of(
    worker: &Worker,
    predecessor: Option<&WorkerId>,
    execution: &ExecutionId,
    attempt: i32,
) -> Result<Owner, StoreError> {
    let Some(claim) = worker.store.owner(execution, attempt).await? else {
        return Ok(Owner::Nobody);
    };
    // The container's label names who made it; somebody else may have taken it over since.
    let alive = claim.worker == worker.id || !gone(worker, predecessor, &claim.worker).await?;
    Ok(if alive { Owner::Alive } else { Owner::Gone(claim) })
}
