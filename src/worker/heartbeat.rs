//! The Heartbeat extends the leases of active claims, delivers cancellations and rescues expired claims of other
//! workers.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, Supervised, Supervisor, WrapFuture,
};
use slog::{info, warn};
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::Instant;

use crate::execution::{Claim, WorkerCondition, WorkerId};
use crate::failpoint;
use crate::store::{ClaimStatus, StoreError};
use crate::worker::{ActiveClaims, Signal, Worker, supervision::PanicCounter};

/// How often a running script's cancellation is polled if no notification arrives.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// This worker has taken over what earlier workers left on this host. Before that, it would rescue executions that
/// still run here.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AllowRescue;

/// Runs to the end of a drain, because claims must keep their leases until they are released.
pub struct Heartbeat {
    worker: Arc<Worker>,
    schedule: Schedule,
    condition: watch::Receiver<WorkerCondition>,
    panics: PanicCounter,
}

impl Heartbeat {
    pub fn start(worker: Arc<Worker>) -> Addr<Self> {
        Supervisor::start(|_| Self {
            schedule: Schedule::new(worker.settings.worker.lease.0, worker.settings.worker.poll_interval.0),
            condition: worker.condition.subscribe(),
            panics: PanicCounter::new("heartbeat", worker.fatal.clone(), worker.log.clone()),
            worker,
        })
    }

    fn beat(&mut self, ctx: &mut Context<Self>) {
        let mut next = self.schedule.next();
        // Executions that wait for a working firewall report it at once.
        next.report |= self.condition.has_changed().unwrap_or(false);
        self.condition.mark_unchanged();
        let task = actix_rt::spawn(beat(Arc::clone(&self.worker), next));
        ctx.spawn(task.into_actor(self).map(|beaten, heartbeat, ctx| heartbeat.beaten(beaten, ctx)));
    }

    fn beaten(&mut self, beaten: Result<Result<(), StoreError>, JoinError>, ctx: &mut Context<Self>) {
        match beaten {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(self.worker.log, "extending the leases of claims failed"; "error" => %error);
                self.schedule.failed();
            }
            Err(stopped) if stopped.is_panic() => return self.panics.restart_actor(ctx),
            Err(_) => return,
        }
        let worker = Arc::clone(&self.worker);
        let pause = async move {
            let _ = tokio::time::timeout(POLL_EVERY, worker.store.wait_for_cancellation()).await;
        };
        ctx.spawn(pause.into_actor(self).map(|(), heartbeat, ctx| heartbeat.beat(ctx)));
    }
}

impl Actor for Heartbeat {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.panics.started();
        self.beat(ctx);
    }
}

impl Supervised for Heartbeat {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.schedule.next_extension = Instant::now();
    }
}

impl Handler<AllowRescue> for Heartbeat {
    type Result = ();

    fn handle(&mut self, _: AllowRescue, _: &mut Context<Self>) {
        self.schedule.rescue_allowed = true;
    }
}

/// When to extend leases and when to rescue.
struct Schedule {
    lease: Duration,
    extend_every: Duration,
    rescue_every: Duration,
    next_extension: Instant,
    next_rescue: Instant,
    rescue_allowed: bool,
    /// Rescues start then even if they were not allowed.
    rescue_anyway_at: Instant,
}

/// What one beat does besides looking for cancellations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Beat {
    lease: Duration,
    /// A call that takes longer has failed: then the database hung, probably for all workers.
    timeout: Duration,
    extend: bool,
    /// Whether to write that the worker is alive, and its condition.
    report: bool,
    rescue: bool,
}

impl Schedule {
    fn new(lease: Duration, poll_interval: Duration) -> Self {
        let (now, extend_every) = (Instant::now(), lease / 3);
        Self {
            lease,
            extend_every,
            rescue_every: poll_interval.min(extend_every),
            next_extension: now,
            next_rescue: now,
            rescue_allowed: false,
            rescue_anyway_at: now + lease,
        }
    }

    fn next(&mut self) -> Beat {
        let now = Instant::now();
        let extend = now >= self.next_extension;
        let rescue = now >= self.next_rescue && (self.rescue_allowed || now > self.rescue_anyway_at);
        if extend {
            self.next_extension = now + self.extend_every;
        }
        if rescue {
            self.next_rescue = now + self.rescue_every;
        }
        Beat { lease: self.lease, timeout: self.extend_every, extend, report: extend, rescue }
    }

    /// The database was unreachable, probably for other workers too. They get a lease's time to extend their leases
    /// before this worker rescues their executions.
    fn failed(&mut self) {
        self.next_extension = Instant::now();
        self.next_rescue = Instant::now() + self.lease;
    }
}

async fn beat(worker: Arc<Worker>, beat: Beat) -> Result<(), StoreError> {
    failpoint::hit("heartbeat.beating").await;
    in_time(beat.timeout, check_claims(&worker, beat)).await?;
    // A separate timeout, so that a slow rescue does not delay the next extension for long.
    if beat.rescue
        && let Err(error) = in_time(beat.timeout, rescue(&worker)).await
    {
        warn!(worker.log, "looking for expired claims failed"; "error" => %error);
    }
    Ok(())
}

async fn in_time(
    timeout: Duration,
    call: impl Future<Output = Result<(), StoreError>>,
) -> Result<(), StoreError> {
    let late = |_| Err(StoreError::Unavailable(format!("no response within {timeout:?}")));
    tokio::time::timeout(timeout, call).await.unwrap_or_else(late)
}

async fn check_claims(worker: &Worker, beat: Beat) -> Result<(), StoreError> {
    if beat.report {
        let condition = worker.condition.borrow().clone();
        worker.store.touch_worker(&worker.id, worker.is_draining(), condition).await?;
    }
    let claims = worker.claims.all();
    if claims.is_empty() {
        return Ok(());
    }
    let statuses = match beat.extend {
        true => worker.store.heartbeat(&worker.id, &claims, beat.lease).await?,
        false => worker.store.claim_statuses(&worker.id, &claims).await?,
    };
    signal_changes(&worker.claims, &worker.id, &claims, &statuses);
    Ok(())
}

/// A claim that the database does not return has ended or belongs to another worker.
fn signal_changes(active: &ActiveClaims, worker: &WorkerId, asked: &[Claim], statuses: &[ClaimStatus]) {
    let alive: HashSet<_> = statuses.iter().map(|status| (&status.execution, status.attempt)).collect();
    for claim in asked.iter().filter(|claim| !alive.contains(&(&claim.execution, claim.attempt))) {
        active.signal(claim, Signal::Lost);
    }
    for status in statuses.iter().filter(|status| status.cancel_requested) {
        let (execution, worker) = (status.execution.clone(), worker.clone());
        active.signal(&Claim { execution, attempt: status.attempt, worker }, Signal::Cancel);
    }
}

async fn rescue(worker: &Worker) -> Result<(), StoreError> {
    for rescued in worker.store.rescue(worker.settings.worker.lease.0).await? {
        info!(worker.log, "rescued an execution whose lease expired"; "execution" => %rescued.execution,
            "attempt" => rescued.attempt, "becomes" => rescued.status.as_str());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::ExecutionId;

    const LEASE: Duration = Duration::from_secs(30);

    fn schedule() -> Schedule {
        Schedule::new(LEASE, Duration::from_secs(5))
    }

    #[tokio::test(start_paused = true)]
    async fn leases_are_extended_three_times_before_they_expire() {
        let mut schedule = schedule();
        for (after_secs, extends) in [(0, true), (1, false), (8, false), (1, true), (9, false), (1, true)] {
            tokio::time::advance(Duration::from_secs(after_secs)).await;
            assert_eq!(schedule.next().extend, extends, "after {after_secs} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rescues_wait_until_this_host_is_reconciled_or_a_lease_has_passed() {
        for (allowed, after_secs, rescues) in
            [(false, 0, false), (false, 30, false), (false, 31, true), (true, 0, true)]
        {
            let mut schedule = schedule();
            schedule.rescue_allowed = allowed;
            tokio::time::advance(Duration::from_secs(after_secs)).await;
            assert_eq!(schedule.next().rescue, rescues, "allowed {allowed}, after {after_secs} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_leases_are_extended_at_once_and_nothing_is_rescued_for_a_lease() {
        let mut schedule = schedule();
        schedule.rescue_allowed = true;
        assert!(schedule.next().rescue);
        schedule.failed();
        assert!(schedule.next().extend);
        for (after_secs, rescues) in [(29, false), (1, true), (1, false), (4, true)] {
            tokio::time::advance(Duration::from_secs(after_secs)).await;
            assert_eq!(schedule.next().rescue, rescues, "after {after_secs} s");
        }
    }

    #[test]
    fn each_claim_gets_the_signal_for_what_the_database_returned() {
        let worker = WorkerId::generate();
        for (returned, expected) in [
            (None, Signal::Lost),
            (Some((1, false)), Signal::Continue),
            (Some((1, true)), Signal::Cancel),
            (Some((2, false)), Signal::Lost),
            (Some((2, true)), Signal::Lost),
        ] {
            let active = ActiveClaims::default();
            let claim = Claim { execution: ExecutionId::generate(), attempt: 1, worker: worker.clone() };
            let handle = active.add(claim.clone());
            let statuses: Vec<ClaimStatus> = (returned.into_iter())
                .map(|(attempt, cancel_requested)| ClaimStatus {
                    execution: claim.execution.clone(),
                    attempt,
                    cancel_requested,
                })
                .collect();
            signal_changes(&active, &worker, &[claim], &statuses);
            assert_eq!(*handle.signals.borrow(), expected, "{returned:?}");
        }
    }
}
