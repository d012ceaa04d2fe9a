//! One attempt from its claim to its end: environment → sandbox → hand-over → events → conclusion → recorded.

mod builder;
mod dispatch;
mod environment;
mod environment_spec;
mod finish;
mod job;
mod monitor;
mod nest;
mod output_buffer;
mod slot_sandboxes;
mod start_marker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{Logger, info, warn};

use crate::execution::{Claimed, ExecutionRecord, PhaseTimes};
use crate::failpoint;
use crate::sandbox::{Profile, Sandbox};
use crate::store::{Chunk, FinishReply, Reservation};
use crate::worker::active_claims::ClaimHandle;
use crate::worker::recorder::{Finish, Release};
use crate::worker::{Signal, Worker};

use dispatch::HandOver;
use environment::Preparing;
use monitor::Running;
use output_buffer::{OutputBuffer, Phase};

pub(crate) use nest::Nest;
pub(crate) use slot_sandboxes::SlotSandboxes;

/// A slot that had to give its claim back rests so long, so that an ailing Docker is not asked to
/// do the same again at once.
const REST: Duration = Duration::from_secs(5);

/// What an Executor is given to do.
pub(crate) struct Run {
    pub claimed: Claimed,
    pub held: ClaimHandle,
    pub start: Start,
}

pub(crate) enum Start {
    /// In a sandbox that is at hand, or a new one.
    Fresh(SlotSandboxes),
    /// In the sandbox that an earlier daemon left, behind the chunks that it stored.
    Resumed { sandbox: Box<Sandbox>, stored: Vec<Chunk> },
}

/// How an attempt left the hands of its Executor.
enum Ending {
    /// There is a result, a sandbox to let go once it is stored, its last event, and the room that was taken for files.
    Concluded(Box<ExecutionRecord>, Option<Box<Sandbox>>, u64, Option<Reservation>),
    /// To be run again. `begun`: its script may have begun.
    Released {
        begun: bool,
    },
    ClaimLost,
}

impl Ending {
    /// Adds what is known of the time before the script, to what is recorded.
    fn after(mut self, phases: PhaseTimes) -> Self {
        if let Ending::Concluded(conclusion, ..) = &mut self {
            conclusion.phases = PhaseTimes { script: conclusion.phases.script, ..phases };
        }
        self
    }

    fn came_from(mut self, profile: &Profile, phases: PhaseTimes) -> Self {
        if let Ending::Concluded(conclusion, ..) = &mut self {
            conclusion.image = Some(profile.image.clone());
        }
        self.after(phases)
    }
}

/// A sandbox in which the script has been started.
struct Ready {
    sandbox: Sandbox,
    profile: Profile,
    transcript: OutputBuffer,
    phases: PhaseTimes,
}

/// What a run leaves to its slot.
#[derive(Default)]
pub(crate) struct Left {
    /// What the slot is likeliest to need next.
    pub profile: Option<Profile>,
    pub stock: SlotSandboxes,
}

/// Runs the attempt to its recorded end.
pub(crate) async fn run(worker: Arc<Worker>, run: Run) -> Left {
    let Run { claimed, mut held, start } = run;
    let log = worker.log_for(&claimed.claim);
    let mut stock = SlotSandboxes::default();
    let (ending, profile) = match start {
        Start::Fresh(at_hand) => {
            stock = at_hand;
            let waited = claimed.waited.as_millis() as u64;
            info!(log, "claimed"; "runtime" => &claimed.runtime, "waited_ms" => waited);
            fresh(&worker, &claimed, &mut held, &mut stock, None, &log).await
        }
        Start::Resumed { sandbox, stored } => {
            info!(log, "re-attached"; "container" => short(sandbox.container()), "stored_chunks" => stored.len());
            resumed(&worker, &claimed, &mut held, *sandbox, stored, &log).await
        }
    };
    if let Some((sandbox, last)) = settle(&worker, &held, ending, &log).await {
        stock.take_back(&worker, &claimed, profile.as_ref(), sandbox, last).await;
    }
    Left { profile, stock }
}

/// The sandbox that was left may still be installing; then all of the script is ahead.
async fn resumed(
    worker: &Arc<Worker>,
    claimed: &Claimed,
    held: &mut ClaimHandle,
    sandbox: Sandbox,
    stored: Vec<Chunk>,
    log: &Logger,
) -> (Ending, Option<Profile>) {
    if sandbox.builds().is_some() {
        let begun = Begun { sandbox, transcript: OutputBuffer::resumed(stored, Phase::Install) };
        return fresh(worker, claimed, held, &mut SlotSandboxes::default(), Some(begun), log).await;
    }
    let transcript = OutputBuffer::resumed(stored, Phase::Script);
    (to_the_end(worker, claimed, held, sandbox, transcript, log).await, None)
}

/// An install that an earlier daemon began, and what it said so far.
struct Begun {
    sandbox: Sandbox,
    transcript: OutputBuffer,
}

async fn fresh(
    worker: &Arc<Worker>,
    claimed: &Claimed,
    held: &mut ClaimHandle,
    stock: &mut SlotSandboxes,
    begun: Option<Begun>,
    log: &Logger,
) -> (Ending, Option<Profile>) {
    match to_the_script(worker, claimed, held, stock, begun, log).await {
        Ok(Ready { sandbox, profile, transcript, phases }) => {
            info!(log, "running"; "container" => short(sandbox.container()));
            let ending = to_the_end(worker, claimed, held, sandbox, transcript, log).await;
            (ending.came_from(&profile, phases), Some(profile))
        }
        Err(ending) => (ending, None),
    }
}

async fn to_the_script(
    worker: &Arc<Worker>,
    claimed: &Claimed,
    held: &mut ClaimHandle,
    stock: &mut SlotSandboxes,
    begun: Option<Begun>,
    log: &Logger,
) -> Result<Ready, Ending> {
    let since = Instant::now();
    let Some(runtime) = worker.runtimes.get(&claimed.runtime) else {
        return Err(dispatch::unknown_runtime(claimed, worker));
    };
    let (builder, transcript) = match begun {
        Some(begun) => (Some(begun.sandbox), begun.transcript),
        None => (None, OutputBuffer::new()),
    };
    let mut preparing = Preparing::new(worker, claimed, runtime, transcript, log);
    if let Some(builder) = builder {
        let gone_on = preparing.go_on(held, builder).await;
        gone_on.map_err(|ending| ending.after(preparing.phases()))?;
    }
    loop {
        let prepared = preparing.environment(held).await;
        let environment = prepared.map_err(|ending| ending.after(preparing.phases()))?;
        match dispatch::hand_over(worker, claimed, runtime, environment, held, stock, log).await? {
            HandOver::Done(sandbox, profile) => {
                let phases = preparing.phases_of(since.elapsed());
                let transcript = preparing.into_transcript();
                return Ok(Ready { sandbox: *sandbox, profile, transcript, phases });
            }
            HandOver::EnvironmentMissing => {}
        }
    }
}

async fn to_the_end(
    worker: &Arc<Worker>,
    claimed: &Claimed,
    held: &mut ClaimHandle,
    sandbox: Sandbox,
    transcript: OutputBuffer,
    log: &Logger,
) -> Ending {
    let longest = job::outer_deadline(claimed, &worker.settings);
    let running = Running { sandbox, transcript, longest, alarm: None };
    let followed = monitor::follow(worker, &claimed.claim, held, running).await;
    finish::script(worker, claimed, followed, log).await
}

/// Records how it ended. The sandbox is let go after the answer, not before it: it is returned with its last event
/// once that is stored.
async fn settle(
    worker: &Arc<Worker>,
    held: &ClaimHandle,
    ending: Ending,
    log: &Logger,
) -> Option<(Sandbox, u64)> {
    match ending {
        Ending::Concluded(conclusion, sandbox, last_event, _room) => {
            let status = conclusion.outcome.status();
            let reason = conclusion.outcome.error().unwrap_or_default().to_owned();
            failpoint::hit("run.concluded").await;
            let message = Finish { claim: held.claim.clone(), record: Arc::new(*conclusion) };
            match worker.record(message).await {
                Some(FinishReply::Stored) => {
                    info!(log, "{}", status; "reason" => reason);
                    return sandbox.map(|sandbox| (*sandbox, last_event));
                }
                Some(FinishReply::ClaimLost) => {
                    warn!(log, "claim lost; its result is not this one's to write");
                    if let Some(sandbox) = sandbox {
                        monitor::forsake(worker, &held.claim, *sandbox, log).await;
                    }
                }
                None => {}
            }
        }
        Ending::Released { begun } => {
            worker.record(Release { claim: held.claim.clone(), script_may_have_started: begun }).await;
            if !worker.is_draining() && *held.signals.borrow() == Signal::Continue {
                tokio::time::sleep(REST).await;
            }
        }
        Ending::ClaimLost => warn!(log, "claim lost; nothing written"),
    }
    None
}

fn short(container: &str) -> &str {
    container.get(..12).unwrap_or(container)
}
