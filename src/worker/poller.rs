//! The Poller claims as many executions as there are idle Executors, and assigns them.

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, ResponseFuture, Supervised,
    Supervisor, WrapFuture,
};
use slog::{error, info, warn};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinError;
use tokio::time::Instant;

use crate::execution::{Claim, Claimed};
use crate::failpoint;
use crate::metrics::METRICS;
use crate::sandbox::Sandbox;
use crate::store::{CLAIM_MOST, StoreError};
use crate::worker::active_claims::{ActiveClaim, ClaimHandle};
use crate::worker::executor::{Execute, Resume, Retire};
use crate::worker::idle_executors::{Demand, IdleExecutors, LastRun};
use crate::worker::{Executor, Signal, Worker, supervision::PanicCounter};

/// Pause after a failed claim statement.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);
/// After `drain_timeout`, the time for releasing claims and removing parked sandboxes. Docker or the database may
/// hang.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(20);

/// An execution may have been queued.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Wake;

/// An Executor is ready for another claim.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ExecutorIdle {
    executor: Addr<Executor>,
    last_run: Option<LastRun>,
    /// The claim that it ran, still on the list of active claims.
    ended: Arc<ActiveClaim>,
}

/// Take over the claim of a worker that is gone, with the sandbox in which its job runs.
#[derive(Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct Adopt {
    pub claim: Claim,
    pub sandbox: Box<Sandbox>,
}

/// Run a claim that is on the list of active claims.
#[derive(Message)]
#[rtype(result = "()")]
struct Assign {
    claimed: Claimed,
    handle: ClaimHandle,
    resume: Option<Resume>,
}

/// Claim nothing new, finish what runs within `drain_timeout`, release the rest and remove parked sandboxes. The
/// reply is sent after that.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// Becomes true when the drain must not wait any longer.
    pub at_once: watch::Receiver<bool>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct RetireIdleExecutors;

/// Until this time, the database may hold claims of this worker that it does not know of.
type UnconfirmedUntil = Option<Instant>;

pub struct Poller {
    worker: Arc<Worker>,
    idle: IdleExecutors<Addr<Executor>>,
    /// Locked from a claim statement until its claims are on the list, so that a drain and an adoption see all of
    /// them.
    unconfirmed: Arc<Mutex<UnconfirmedUntil>>,
    claiming: bool,
    /// Something changed while a claim statement was running.
    claim_again: bool,
    panics: PanicCounter,
}

impl Poller {
    pub fn start(worker: Arc<Worker>) -> Addr<Self> {
        let slots = worker.settings.worker.slots;
        METRICS.slots.set(i64::try_from(slots).unwrap_or(i64::MAX));
        Supervisor::start(move |_| Self {
            idle: IdleExecutors::new((0..slots).map(|_| Executor::start(&worker))),
            unconfirmed: Arc::default(),
            claiming: false,
            claim_again: false,
            panics: PanicCounter::new("poller", worker.fatal.clone(), worker.log.clone()),
            worker,
        })
    }

    /// Starts a claim statement unless one is running.
    fn claim_for_idle(&mut self, ctx: &mut Context<Self>) {
        self.claim_again |= self.claiming;
        // Adopted executions may occupy more than the configured slots.
        let slots = self.worker.settings.worker.slots.saturating_sub(self.worker.claims.len());
        let count = self.idle.len().min(slots).min(CLAIM_MOST);
        if self.claiming || count == 0 || self.worker.is_draining() {
            return;
        }
        (self.claiming, self.claim_again) = (true, false);
        let task = actix_rt::spawn(claim(Arc::clone(&self.worker), Arc::clone(&self.unconfirmed), count));
        ctx.spawn(task.into_actor(self).map(move |claims, poller, ctx| match claims {
            Ok(claims) => poller.assign_all(claims, count, ctx),
            Err(stopped) => poller.claim_stopped(&stopped, ctx),
        }));
    }

    fn assign_all(&mut self, claims: Vec<Assign>, count: usize, ctx: &mut Context<Self>) {
        self.claiming = false;
        self.claim_again |= claims.len() == count;
        for assign in claims {
            if self.worker.is_draining() {
                self.worker.claims.signal(&assign.handle.claim, Signal::Release);
            }
            self.assign(assign, ctx);
        }
        if self.claim_again {
            self.claim_for_idle(ctx);
        }
    }

    fn claim_stopped(&mut self, stopped: &JoinError, ctx: &mut Context<Self>) {
        if stopped.is_panic() {
            self.panics.restart_actor(ctx);
        }
    }

    fn assign(&mut self, assign: Assign, ctx: &mut Context<Self>) {
        let Assign { claimed, handle, resume } = assign;
        let last_run = (Demand::of(&claimed), claimed.owner.clone());
        // An adopted execution needs an Executor even if all slots are taken.
        let executor = self.idle.take_best_for(&last_run.0, last_run.1.as_ref());
        let executor = executor.unwrap_or_else(|| Executor::start(&self.worker));
        let (worker, poller) = (Arc::clone(&self.worker), ctx.address());
        // Not a future of this context, because a restart would drop it.
        actix_rt::spawn(async move {
            // The claim stays on the list until its result is recorded, so that its lease does not expire after a
            // panic, and until its Executor is idle, so that a drain finds it there.
            let ended = handle.entry();
            let (executor, last_run) = match executor.send(Execute { claimed, handle, resume }).await {
                Ok(()) => (executor, Some(last_run)),
                Err(error) => {
                    // The lease of its claim expires, and the execution is rescued.
                    error!(worker.log, "replacing an executor that ended"; "error" => %error);
                    (Executor::start(&worker), None)
                }
            };
            if let Err(error) = poller.send(ExecutorIdle { executor, last_run, ended }).await {
                worker.fatal.report(format!("the poller ended: {error}"));
            }
        });
    }

    /// Waits for a notification, for a repair or for the next poll, whichever comes first.
    fn schedule_wake(&mut self, ctx: &mut Context<Self>) {
        let worker = Arc::clone(&self.worker);
        let wake = async move {
            tokio::select! {
                () = worker.store.wait_for_queued() => {}
                () = worker.repaired() => {}
                () = tokio::time::sleep(worker.settings.worker.poll_interval.0) => {}
            }
        };
        ctx.spawn(wake.into_actor(self).map(|(), poller, ctx| {
            ctx.notify(Wake);
            poller.schedule_wake(ctx);
        }));
    }
}

impl Actor for Poller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.panics.started();
        ctx.notify(Wake);
        self.schedule_wake(ctx);
    }
}

impl Supervised for Poller {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.claiming = false;
    }
}

impl Handler<Wake> for Poller {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        self.claim_for_idle(ctx);
    }
}

impl Handler<ExecutorIdle> for Poller {
    type Result = ();

    fn handle(&mut self, message: ExecutorIdle, ctx: &mut Context<Self>) {
        if self.idle.len() < self.worker.settings.worker.slots {
            self.idle.push(message.executor, message.last_run);
            // Before the next claim, because a claim on the list occupies a slot.
            drop(message.ended);
            self.claim_for_idle(ctx);
        } else {
            // It was started for an adopted execution.
            actix_rt::spawn(retire(Arc::clone(&self.worker), vec![message.executor]));
        }
    }
}

impl Handler<Adopt> for Poller {
    type Result = ResponseFuture<Result<(), StoreError>>;

    fn handle(&mut self, message: Adopt, ctx: &mut Context<Self>) -> Self::Result {
        Box::pin(adopt(Arc::clone(&self.worker), Arc::clone(&self.unconfirmed), message, ctx.address()))
    }
}

impl Handler<Assign> for Poller {
    type Result = ();

    fn handle(&mut self, message: Assign, ctx: &mut Context<Self>) {
        self.assign(message, ctx);
    }
}

impl Handler<Drain> for Poller {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, message: Drain, ctx: &mut Context<Self>) -> Self::Result {
        self.worker.start_draining();
        Box::pin(drain(Arc::clone(&self.worker), Arc::clone(&self.unconfirmed), message, ctx.address()))
    }
}

impl Handler<RetireIdleExecutors> for Poller {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: RetireIdleExecutors, _: &mut Context<Self>) -> Self::Result {
        Box::pin(retire(Arc::clone(&self.worker), self.idle.take_all()))
    }
}

/// Claims executions and adds them to the list of active claims.
///
/// If the reply of a claim statement is lost, or this task panics, the database holds claims that this worker does not
/// know of. The next call releases them first, and so do all calls for a lease's time, because a statement that hangs
/// may still succeed.
async fn claim(worker: Arc<Worker>, unconfirmed: Arc<Mutex<UnconfirmedUntil>>, count: usize) -> Vec<Assign> {
    failpoint::hit("poller.polling").await;
    let mut unconfirmed = unconfirmed.lock().await;
    match claim_confirmed(&worker, count, &mut unconfirmed).await {
        Ok(claimed) => (claimed.into_iter())
            .map(|claimed| Assign { handle: worker.claims.add(claimed.claim.clone()), claimed, resume: None })
            .collect(),
        Err(error) => {
            warn!(worker.log, "claiming executions failed"; "error" => %error);
            drop(unconfirmed);
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            Vec::new()
        }
    }
}

async fn claim_confirmed(
    worker: &Worker,
    count: usize,
    unconfirmed: &mut UnconfirmedUntil,
) -> Result<Vec<Claimed>, StoreError> {
    // Without an engine, a claim could only be given back.
    if worker.is_draining() || worker.condition.borrow().engine_problem.is_some() {
        return Ok(Vec::new());
    }
    let lease = worker.settings.worker.lease.0;
    let before = unconfirmed.filter(|until| Instant::now() < *until);
    *unconfirmed = Some(Instant::now() + lease);
    if before.is_some() {
        for released in worker.store.release_unknown(&worker.id, &worker.claims.all()).await? {
            warn!(worker.log, "released a claim whose reply was lost"; "execution" => %released.execution,
                "attempt" => released.attempt);
        }
    }
    let (store, name, labels) = (&worker.store, worker.name(), &worker.labels);
    let claim = async |count| match worker.network_blocked() {
        None => store.claim(&worker.id, name, labels, count, lease).await,
        Some(_) => store.claim_without_network(&worker.id, name, labels, count, lease).await,
    };
    let mut claimed = claim(count).await?;
    // With labels, other workers may have taken some of the rows that the statement saw. If the second statement
    // fails, the claims of the first one are unconfirmed too.
    if claimed.len() < count && !worker.labels.is_plain() {
        claimed.extend(claim(count - claimed.len()).await?);
    }
    failpoint::hit("poller.claimed").await;
    if failpoint::loses("poller.answer") {
        return Err(StoreError::Unavailable("the answer got lost".to_owned()));
    }
    *unconfirmed = before;
    Ok(claimed)
}

/// Ok also means that there is nothing to adopt any more, for example because another worker was faster.
async fn adopt(
    worker: Arc<Worker>,
    unconfirmed: Arc<Mutex<UnconfirmedUntil>>,
    Adopt { claim, sandbox }: Adopt,
    poller: Addr<Poller>,
) -> Result<(), StoreError> {
    // Until the claim is on the list, no claim statement may take it for one whose reply was lost.
    let _unconfirmed = unconfirmed.lock().await;
    if worker.is_draining() || worker.claims.contains(&claim) {
        sandbox.detach();
        return Ok(());
    }
    let lease = worker.settings.worker.lease.0;
    let mut adopted = worker.store.adopt(&claim, &worker.id, worker.name(), lease).await;
    if failpoint::loses("resume.answer") {
        adopted = Err(StoreError::Unavailable("the answer got lost".to_owned()));
    }
    let (claimed, stored) = match adopted {
        Ok(Some(adopted)) => adopted,
        not_adopted => {
            sandbox.detach();
            return not_adopted.map(|_| ());
        }
    };
    let handle = worker.claims.add(claimed.claim.clone());
    let assign = Assign { claimed, handle, resume: Some(Resume { sandbox, stored }) };
    if let Err(error) = poller.send(assign).await {
        worker.fatal.report(format!("the poller ended: {error}"));
    }
    Ok(())
}

async fn drain(
    worker: Arc<Worker>,
    unconfirmed: Arc<Mutex<UnconfirmedUntil>>,
    Drain { mut at_once }: Drain,
    poller: Addr<Poller>,
) {
    let timeout = worker.settings.worker.drain_timeout.0;
    info!(worker.log, "draining"; "running" => worker.claims.len(), "timeout_s" => timeout.as_secs());
    let all_ended = async {
        // The reply of a claim statement may be on its way.
        drop(unconfirmed.lock().await);
        worker.claims.wait_until_empty().await;
    };
    tokio::select! {
        () = all_ended => {}
        () = tokio::time::sleep(timeout) => warn!(worker.log, "drain_timeout has passed"),
        _ = at_once.wait_for(|now| *now) => warn!(worker.log, "stopping at once after a second signal"),
    }
    let release = async {
        if !worker.claims.is_empty() {
            info!(worker.log, "releasing claims"; "running" => worker.claims.len());
            worker.claims.signal_all(Signal::Release);
            worker.claims.wait_until_empty().await;
        }
        if let Err(error) = poller.send(RetireIdleExecutors).await {
            warn!(worker.log, "the poller ended before its executors retired"; "error" => %error);
        }
    };
    if tokio::time::timeout(RELEASE_TIMEOUT, release).await.is_err() {
        // As after kill -9, nothing is lost: leases expire, and the next start takes over.
        warn!(worker.log, "stopping without releasing all claims: Docker or the database does not respond";
            "running" => worker.claims.len());
    }
}

/// An Executor ends when its address is dropped. Its parked sandbox is removed before.
async fn retire(worker: Arc<Worker>, executors: Vec<Addr<Executor>>) {
    for executor in executors {
        if let Err(error) = executor.send(Retire).await {
            warn!(worker.log, "an executor ended before it retired"; "error" => %error);
        }
    }
}
