//! Keeping claims: heartbeats, cancels, rescues, and the worker's own sign of life.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use slog::{info, warn};
use tokio::time::Instant;

use crate::execution::Claim;
use crate::failpoint;
use crate::store::{ClaimStatus, StoreError};
use crate::worker::{Signal, Worker};

/// How often a cancel of a running script is looked for, when nobody tells of it.
const PULSE_EVERY: Duration = Duration::from_secs(1);

/// Never returns: claims must be kept to the very end of a drain.
pub(crate) async fn keep(worker: Arc<Worker>) {
    let lease = worker.settings.worker.lease.0;
    let beat_every = lease / 3;
    let mut next_beat = Instant::now();
    let mut next_rescue = Instant::now();
    // One who has not looked yet what former workers left on this host would call their living runs lost.
    let settled_in = worker.settled_in.subscribe();
    let patience = Instant::now() + lease;
    loop {
        failpoint::hit("keeper.keeping").await;
        let now = Instant::now();
        let result = if now >= next_beat {
            next_beat = now + beat_every;
            in_time(beat_every, beat(&worker, lease)).await
        } else {
            in_time(beat_every, look(&worker)).await
        };
        let may_rescue = *settled_in.borrow() || Instant::now() > patience;
        match result {
            Ok(()) if may_rescue && Instant::now() >= next_rescue => {
                next_rescue = Instant::now() + worker.settings.worker.poll_interval.0.min(beat_every);
                // Never so long that its own claims are not kept meanwhile.
                if let Err(error) = in_time(beat_every, rescue(&worker)).await {
                    warn!(worker.log, "expired claims could not be looked for"; "error" => %error);
                }
            }
            Ok(()) => {}
            Err(error) => {
                warn!(worker.log, "the claims could not be looked after"; "error" => %error);
                // Nobody else's claims are called lost by a worker that has lost the database itself:
                // when it is back, all of them get time to say that they live.
                next_rescue = Instant::now() + lease;
                next_beat = Instant::now();
            }
        }
        tokio::select! {
            () = worker.store.wait_for_cancellation() => {}
            () = tokio::time::sleep(PULSE_EVERY) => {}
        }
    }
}

/// An answer that comes as late as the next heartbeat is due is none: then the database hung, for all workers most
/// likely, and their heartbeats may be just behind this one.
async fn in_time(
    limit: Duration,
    call: impl Future<Output = Result<(), StoreError>>,
) -> Result<(), StoreError> {
    let late = |_| Err(StoreError::Unavailable(format!("no answer within {limit:?}")));
    tokio::time::timeout(limit, call).await.unwrap_or_else(late)
}

async fn beat(worker: &Worker, lease: Duration) -> Result<(), StoreError> {
    worker.store.touch_worker(&worker.id, worker.is_draining()).await?;
    let claims = worker.claims.all();
    if claims.is_empty() {
        return Ok(());
    }
    let pulses = worker.store.heartbeat(&worker.id, &claims, lease).await?;
    pass_on(worker, &claims, &pulses);
    Ok(())
}

async fn look(worker: &Worker) -> Result<(), StoreError> {
    let claims = worker.claims.all();
    if claims.is_empty() {
        return Ok(());
    }
    let pulses = worker.store.claim_statuses(&worker.id, &claims).await?;
    pass_on(worker, &claims, &pulses);
    Ok(())
}

/// What the database no longer knows as this worker's has ended, or is somebody else's.
fn pass_on(worker: &Worker, asked: &[Claim], pulses: &[ClaimStatus]) {
    let alive: HashSet<_> = pulses.iter().map(|pulse| (&pulse.execution, pulse.attempt)).collect();
    for claim in asked {
        if !alive.contains(&(&claim.execution, claim.attempt)) {
            worker.claims.order(claim, Signal::Lost);
        }
    }
    for pulse in pulses.iter().filter(|pulse| pulse.cancel_requested) {
        let claim =
            Claim { execution: pulse.execution.clone(), attempt: pulse.attempt, worker: worker.id.clone() };
        worker.claims.order(&claim, Signal::Cancel);
    }
}

async fn rescue(worker: &Worker) -> Result<(), StoreError> {
    for one in worker.store.rescue(worker.settings.worker.lease.0).await? {
        info!(worker.log, "rescued: its lease had run out"; "execution" => %one.execution,
            "attempt" => one.attempt, "becomes" => one.status);
    }
    Ok(())
}
