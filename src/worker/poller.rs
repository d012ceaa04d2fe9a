//! The Poller: as many claims as there are idle Executors, no more.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, ResponseFuture};
use slog::{error, info, warn};
use tokio::time::Instant;

use crate::execution::Claimed;
use crate::failpoint;
use crate::metrics::METRICS;
use crate::store::{CLAIM_MOST, StoreError};
use crate::worker::executor::{Execute, Resume, Retire};
use crate::worker::heartbeat;
use crate::worker::idle_executors::Demand;
use crate::worker::tended::tend;
use crate::worker::worker::Phase;
use crate::worker::{Executor, Signal, Worker};

/// After a claim that failed, so that a database that is away is not asked in a spin.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

/// After `drain_timeout`: for giving claims back and removing sandboxes, which may hang with Docker or the database.
const LEAVE: Duration = Duration::from_secs(20);

/// Claim nothing new, finish what runs within `drain_timeout`, give the rest back, remove what is
/// parked. Answered when all of that is done.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// Turns true when there is no more patience.
    pub at_once: tokio::sync::watch::Receiver<bool>,
}

/// Go on with a run that an earlier daemon left.
#[derive(Message)]
#[rtype(result = "()")]
pub struct TakeOver {
    pub claimed: Claimed,
    pub resume: Resume,
}

pub struct Poller {
    worker: Arc<Worker>,
}

impl Poller {
    pub fn new(worker: Arc<Worker>) -> Self {
        Self { worker }
    }
}

impl Actor for Poller {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        METRICS.slots.set(i64::try_from(self.worker.settings.worker.slots).unwrap_or(i64::MAX));
        for _ in 0..self.worker.settings.worker.slots {
            self.worker.bench.push(Executor::new(Arc::clone(&self.worker)).start(), None);
        }
        let (first, second) = (Arc::clone(&self.worker), Arc::clone(&self.worker));
        let polling = tend("poller", self.worker.log.clone(), move || poll(Arc::clone(&first)));
        let keeping = tend("keeper", self.worker.log.clone(), move || heartbeat::keep(Arc::clone(&second)));
        let fatal = self.worker.fatal.clone();
        let kept_alive = async move {
            // The poller returns at a drain; claims are kept to the very end.
            let ended = tokio::try_join!(polling, keeping);
            if let Err(reason) = ended {
                fatal.report(reason);
            }
        };
        // Not of the actor's context: the loops outlive an actor that panics over a message.
        actix_rt::spawn(kept_alive);
    }
}

impl Handler<TakeOver> for Poller {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, message: TakeOver, _: &mut Context<Self>) -> Self::Result {
        // A run that is there already needs an Executor even when all slots are taken.
        let executor = self.worker.bench.take_best_for(&Demand::of(&message.claimed));
        let executor = executor.unwrap_or_else(|| Executor::new(Arc::clone(&self.worker)).start());
        assign(&self.worker, executor, message.claimed, Some(message.resume));
        Box::pin(std::future::ready(()))
    }
}

impl Handler<Drain> for Poller {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, message: Drain, _: &mut Context<Self>) -> Self::Result {
        let worker = Arc::clone(&self.worker);
        Box::pin(async move { drain(&worker, message.at_once).await })
    }
}

async fn drain(worker: &Worker, mut at_once: tokio::sync::watch::Receiver<bool>) {
    worker.phase.send_replace(Phase::Draining);
    let patience = worker.settings.worker.drain_timeout.0;
    info!(worker.log, "draining"; "running" => worker.claims.len(), "patience_s" => patience.as_secs());
    tokio::select! {
        () = all_have_ended(worker) => {}
        () = tokio::time::sleep(patience) => warn!(worker.log, "drain_timeout has passed"),
        _ = at_once.wait_for(|now| *now) => warn!(worker.log, "told to stop at once"),
    }
    if tokio::time::timeout(LEAVE, let_go(worker)).await.is_err() {
        // As with kill -9, nothing is lost: leases run out, the next start takes over.
        warn!(worker.log, "leaving as it is: Docker or the database do not answer"; "running" => worker.claims.len());
    }
}

/// Also those of a claim whose answer is on its way.
async fn all_have_ended(worker: &Worker) {
    drop(worker.claiming.lock().await);
    worker.claims.none_left().await;
}

async fn let_go(worker: &Worker) {
    if !worker.claims.is_empty() {
        info!(worker.log, "giving claims back"; "running" => worker.claims.len());
        worker.claims.order_all(Signal::Release);
        worker.claims.none_left().await;
    }
    while let Some(executor) = worker.bench.call() {
        if executor.send(Retire).await.is_err() {
            warn!(worker.log, "an executor was gone before it could retire");
        }
    }
}

async fn poll(worker: Arc<Worker>) {
    let interval = worker.settings.worker.poll_interval.0;
    let mut phase = worker.phase.subscribe();
    loop {
        failpoint::hit("poller.polling").await;
        if worker.is_draining() {
            return;
        }
        let again_soon = claim_and_assign(&worker).await;
        if again_soon {
            continue;
        }
        tokio::select! {
            () = worker.store.wait_for_queued() => {}
            () = worker.bench.freed() => {}
            () = tokio::time::sleep(interval) => {}
            _ = phase.changed() => {}
        }
    }
}

/// Whether there may be more to claim right now.
async fn claim_and_assign(worker: &Arc<Worker>) -> bool {
    let mut doubt = worker.claiming.lock().await;
    if worker.is_draining() {
        return false;
    }
    // Runs that were taken over may fill more than the slots there are.
    let slots = worker.settings.worker.slots;
    let free = worker.bench.len().min(slots.saturating_sub(worker.claims.len())).min(CLAIM_MOST);
    if free == 0 {
        return false;
    }
    match claim(worker, free, &mut doubt).await {
        Ok(claimed) => {
            let all = claimed.len();
            for claimed in claimed {
                let executor = worker.bench.take_best_for(&Demand::of(&claimed));
                let executor = executor.unwrap_or_else(|| Executor::new(Arc::clone(worker)).start());
                let claim = claimed.claim.clone();
                assign(worker, executor, claimed, None);
                // The answer came after the drain had begun.
                if worker.is_draining() {
                    worker.claims.order(&claim, Signal::Release);
                }
            }
            all == free
        }
        Err(error) => {
            warn!(worker.log, "nothing could be claimed"; "error" => %error);
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            false
        }
    }
}

/// A claim whose answer got lost leaves rows with this worker's name on them that it does not know of. So after a
/// failure, or a panic in between, it first gives those back.
///
/// For a whole lease: a statement that hung may go through long after nobody waits for it any more.
async fn claim(
    worker: &Worker,
    count: usize,
    doubt: &mut Option<Instant>,
) -> Result<Vec<Claimed>, StoreError> {
    let lease = worker.settings.worker.lease.0;
    let before = doubt.filter(|until| Instant::now() < *until);
    *doubt = Some(Instant::now() + lease);
    if before.is_some() {
        for one in worker.store.release_unknown(&worker.id, &worker.claims.all()).await? {
            warn!(worker.log, "a claim whose answer got lost was given back"; "execution" => %one.execution,
                "attempt" => one.attempt);
        }
    }
    let ask = |count| worker.store.claim(&worker.id, &worker.name, &worker.offer, count, lease);
    let mut claimed = ask(count).await?;
    // With labels others may have been quicker with what it had seen; if this fails, the first ones are given back.
    if claimed.len() < count && !worker.offer.is_plain() {
        claimed.extend(ask(count - claimed.len()).await?);
    }
    failpoint::hit("poller.claimed").await;
    if failpoint::loses("poller.answer") {
        return Err(StoreError::Unavailable("the answer got lost".to_owned()));
    }
    *doubt = before;
    Ok(claimed)
}

/// The claim is on the list before the Executor has it: from now on somebody keeps its lease.
fn assign(worker: &Arc<Worker>, executor: actix::Addr<Executor>, claimed: Claimed, resume: Option<Resume>) {
    let held = worker.claims.hold(claimed.claim.clone());
    // Until the run has been answered for, so that its lease does not run out over a panic; and until its Executor sits
    // again, so that a drain that waits for the last claim finds it there.
    let kept = held.guard();
    let demand = Demand::of(&claimed);
    let worker = Arc::clone(worker);
    actix_rt::spawn(async move {
        let answer = executor.send(Execute { claimed, held, resume }).await;
        match answer {
            // One that was made for a run that was taken over is one too many now.
            Ok(()) if worker.bench.len() >= worker.settings.worker.slots => executor.do_send(Retire),
            Ok(()) => worker.bench.push(executor, Some(demand)),
            Err(error) => {
                // Its claim is off the list in a moment, so its lease runs out and it is rescued.
                error!(worker.log, "an executor died and is replaced"; "error" => %error);
                worker.bench.push(Executor::new(Arc::clone(&worker)).start(), None);
            }
        }
        drop(kept);
    });
}
