//! An Executor is one slot: it runs one claim at a time and keeps one sandbox parked for the next.

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseActFuture,
    ResponseFuture, WrapFuture,
};
use slog::error;

use crate::execution::{Claim, Claimed, ExecutionRecord, FailureKind};
use crate::metrics::METRICS;
use crate::sandbox::{NetworkMode, Profile, Sandbox};
use crate::settings::NetworkPolicy;
use crate::store::Chunk;
use crate::worker::Worker;
use crate::worker::attempt::{self, Left, Nest, Run, SlotSandboxes, Start};
use crate::worker::recorder::Finish;

use crate::worker::active_claims::ClaimHandle;

/// How often a parked sandbox is looked at for its age, and a failed parking is tried again.
const TIDY_EVERY: Duration = Duration::from_secs(20);

/// Run this claim. The answer is the credit for the next one.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Execute {
    pub claimed: Claimed,
    pub held: ClaimHandle,
    pub resume: Option<Resume>,
}

/// The sandbox that an earlier daemon left running, and what it had stored.
pub struct Resume {
    pub sandbox: Box<Sandbox>,
    pub stored: Vec<Chunk>,
}

/// Let go of the parked sandbox, and end; answered when it is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Retire;

pub struct Executor {
    worker: Arc<Worker>,
    stock: SlotSandboxes,
    /// What this slot is likeliest to need next.
    likeliest: Option<Profile>,
    busy: bool,
}

impl Executor {
    pub(crate) fn new(worker: Arc<Worker>) -> Self {
        Self { worker, stock: SlotSandboxes::default(), likeliest: None, busy: false }
    }

    fn tidy(&mut self, ctx: &mut Context<Self>) {
        self.stock.tidy();
        let nest = &mut self.stock.nest;
        if !self.busy && (nest.is_empty() || nest.is_stale(&self.worker)) {
            let old = std::mem::take(nest);
            // Nobody has needed it for so long; and while it is mounted it can't be swept.
            if !old.is_empty()
                && let Some(likeliest) = &mut self.likeliest
            {
                likeliest.environment = None;
            }
            actix_rt::spawn(old.clear());
            self.park(ctx);
        }
        ctx.run_later(TIDY_EVERY, Self::tidy);
    }

    fn park(&mut self, ctx: &mut Context<Self>) {
        if let Some(profile) = self.likeliest.clone() {
            self.stock.nest = Nest::prepare(&self.worker, profile);
            return;
        }
        let worker = Arc::clone(&self.worker);
        let default = async move { default_profile(&worker).await };
        ctx.spawn(default.into_actor(self).map(|profile, executor, ctx| {
            let idle = executor.stock.nest.is_empty() && !executor.busy;
            if profile.is_some() && executor.likeliest.is_none() && idle {
                executor.likeliest = profile;
                executor.park(ctx);
            }
        }));
    }
}

impl Actor for Executor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.tidy(ctx);
    }
}

impl Handler<Execute> for Executor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, message: Execute, _: &mut Context<Self>) -> Self::Result {
        self.busy = true;
        let worker = Arc::clone(&self.worker);
        let claim = message.claimed.claim.clone();
        let start = match message.resume {
            Some(Resume { sandbox, stored }) => Start::Resumed { sandbox, stored },
            None => Start::Fresh(std::mem::take(&mut self.stock)),
        };
        let job = Run { claimed: message.claimed, held: message.held, start };
        // A task of its own: its handle tells a panic from a result.
        let task = actix_rt::spawn(attempt::run(Arc::clone(&worker), job));
        let watched = async move {
            match task.await {
                Ok(left) => left,
                Err(stopped) => {
                    answer_for(&worker, claim, stopped.is_panic()).await;
                    Left::default()
                }
            }
        };
        Box::pin(watched.into_actor(self).map(|left, executor, ctx| {
            executor.busy = false;
            executor.likeliest = left.profile.or(executor.likeliest.take());
            executor.stock.restore(left.stock);
            if executor.stock.nest.is_empty() {
                executor.park(ctx);
            }
        }))
    }
}

impl Handler<Retire> for Executor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Retire, ctx: &mut Context<Self>) -> Self::Result {
        // By itself it would live on without an address: its next tidying keeps it, and parks again.
        ctx.stop();
        Box::pin(std::mem::take(&mut self.stock).clear())
    }
}

/// A run that panicked has lost its sandbox (dropping it removes it), so nothing of its result can be
/// known; it gets the answer that there is.
async fn answer_for(worker: &Worker, claim: Claim, panicked: bool) {
    if !panicked {
        return;
    }
    METRICS.panics.add(&["run"], 1);
    error!(worker.log, "a run panicked"; "execution" => %claim.execution, "attempt" => claim.attempt);
    let words = "RGrid itself failed while it ran this script; the daemon's log says where. Submit it again";
    let conclusion = Arc::new(ExecutionRecord::failed(FailureKind::Internal, words));
    if let Err(error) = worker.recorder.send(Finish { claim, conclusion }).await {
        worker.fatal.report(format!("the recorder is gone: {error}"));
    }
}

/// What a submission that asks for nothing runs in.
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
