//! An Executor is one slot: it runs one claim at a time and keeps a sandbox parked for the next one.

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, ResponseActFuture,
    ResponseFuture, Supervised, Supervisor, WrapFuture,
};
use slog::error;

use crate::execution::{Claim, Claimed, ExecutionRecord, FailureKind};
use crate::metrics::METRICS;
use crate::sandbox::{NetworkMode, Profile, Sandbox};
use crate::settings::NetworkPolicy;
use crate::store::Chunk;
use crate::worker::attempt::{Attempt, SlotSandboxes};
use crate::worker::{Worker, active_claims::ClaimHandle, recorder::Finish};

/// How often the age of the parked sandbox is checked and a failed parking is retried.
const MAINTAIN_EVERY: Duration = Duration::from_secs(20);

/// Run this claim. The reply is the credit for the next one.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Execute {
    pub claimed: Claimed,
    pub handle: ClaimHandle,
    pub resume: Option<Resume>,
}

/// The sandbox that an earlier daemon left running, and the output that it stored.
pub(crate) struct Resume {
    pub sandbox: Box<Sandbox>,
    pub stored: Vec<Chunk>,
}

/// Remove the parked sandbox and park no other. The reply is sent when it is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Retire;

pub struct Executor {
    worker: Arc<Worker>,
    sandboxes: SlotSandboxes,
    busy: bool,
    retired: bool,
}

impl Executor {
    pub(crate) fn start(worker: &Arc<Worker>) -> Addr<Self> {
        let worker = Arc::clone(worker);
        Supervisor::start(|_| Self {
            worker,
            sandboxes: SlotSandboxes::default(),
            busy: false,
            retired: false,
        })
    }

    fn maintain_sandboxes(&mut self, ctx: &mut Context<Self>) {
        if self.retired {
            return;
        }
        self.sandboxes.evict_expired(&self.worker);
        self.park(ctx);
        ctx.run_later(MAINTAIN_EVERY, Self::maintain_sandboxes);
    }

    fn park(&mut self, ctx: &mut Context<Self>) {
        if self.retired || self.busy || self.sandboxes.has_parked() {
            return;
        }
        if self.sandboxes.next_profile.is_some() {
            return self.sandboxes.park(&self.worker);
        }
        let worker = Arc::clone(&self.worker);
        let default = async move { default_profile(&worker).await };
        ctx.spawn(default.into_actor(self).map(|profile, executor, ctx| {
            if let Some(profile) = profile {
                executor.sandboxes.next_profile.get_or_insert(profile);
                executor.park(ctx);
            }
        }));
    }

    fn attempt_ended(&mut self, returned: SlotSandboxes, ctx: &mut Context<Self>) {
        self.busy = false;
        self.sandboxes.restore(returned);
        self.park(ctx);
    }
}

impl Actor for Executor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.maintain_sandboxes(ctx);
    }
}

impl Supervised for Executor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.busy = false;
    }
}

impl Handler<Execute> for Executor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, message: Execute, _: &mut Context<Self>) -> Self::Result {
        self.busy = true;
        let worker = Arc::clone(&self.worker);
        let claim = message.claimed.claim.clone();
        let sandboxes = match message.resume {
            Some(_) => SlotSandboxes::default(),
            None => self.sandboxes.take_all(),
        };
        let attempt = Attempt::new(Arc::clone(&worker), message.claimed, message.handle, sandboxes);
        // A task of its own, because its handle distinguishes a panic from a result.
        let task = actix_rt::spawn(attempt.execute(message.resume));
        let ended = async move {
            let ended = task.await;
            if ended.as_ref().is_err_and(|stopped| stopped.is_panic()) {
                record_panic(&worker, claim).await;
            }
            ended
        };
        Box::pin(ended.into_actor(self).map(|ended, executor, ctx| match ended {
            Ok(returned) => executor.attempt_ended(returned, ctx),
            // The Supervisor restarts it.
            Err(_) => ctx.stop(),
        }))
    }
}

impl Handler<Retire> for Executor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Retire, _: &mut Context<Self>) -> Self::Result {
        self.retired = true;
        Box::pin(std::mem::take(&mut self.sandboxes).remove_all())
    }
}

/// A panic drops the sandbox of its attempt, so the script's result cannot be known any more.
async fn record_panic(worker: &Arc<Worker>, claim: Claim) {
    METRICS.panics.add(&["run"], 1);
    error!(worker.log, "an attempt panicked"; "execution" => %claim.execution, "attempt" => claim.attempt);
    let reason = "RGrid itself failed while it ran this script; the daemon's log says where. Submit it again";
    let record = Arc::new(ExecutionRecord::failed(FailureKind::Internal, reason));
    worker.record(Finish { claim, record }).await;
}

/// The profile of a submission without any options.
async fn default_profile(worker: &Worker) -> Option<Profile> {
    let settings = &worker.settings.sandbox;
    let runtime = worker.runtimes.get(worker.runtimes.default_name())?;
    let image = worker.docker.image(&runtime.image, runtime.pull).await.ok()?;
    let network = match settings.network {
        NetworkPolicy::Internet => NetworkMode::Internet,
        NetworkPolicy::None => NetworkMode::None,
    };
    Some(Profile {
        image,
        memory_bytes: settings.memory.0,
        cpus_milli: (settings.cpus * 1000.0) as u32,
        network,
        environment: None,
    })
}
