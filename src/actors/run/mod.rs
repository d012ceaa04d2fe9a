//! One attempt from its claim to its end: sandbox → hand-over → events → conclusion → recorded.

mod begun;
mod conclude;
mod follow;
mod hand_over;
mod job;
mod nest;
mod transcript;

use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{Logger, info, warn};

use super::claims::Held;
use super::recorder::{Finish, Release};
use super::{Order, Worker};
use crate::execution::{Claimed, Conclusion};
use crate::sandbox::{Profile, Sandbox};
use crate::store::{Chunk, Recorded};

pub(super) use nest::Nest;

/// A slot that had to give its claim back rests so long, so that an ailing Docker is not asked to
/// do the same again at once.
const REST: Duration = Duration::from_secs(5);

/// What an Executor is given to do.
pub(super) struct Run {
    pub claimed: Claimed,
    pub held: Held,
    pub start: Start,
}

pub(super) enum Start {
    /// In a sandbox of its own, parked or new.
    Fresh(Nest),
    /// In the sandbox that an earlier daemon left, behind the chunks that it stored.
    Resumed { sandbox: Box<Sandbox>, stored: Vec<Chunk> },
}

/// How an attempt left the hands of its Executor.
enum Ending {
    /// There is a result, and a sandbox to let go once it is stored.
    Concluded(Box<Conclusion>, Option<Box<Sandbox>>, u64),
    Released,
    ClaimLost,
}

impl Ending {
    /// Adds what is known of the sandbox, to what is recorded.
    fn came_from(mut self, sandbox_took: Duration, profile: &Profile) -> Self {
        if let Ending::Concluded(conclusion, ..) = &mut self {
            conclusion.phases.sandbox = Some(sandbox_took);
            conclusion.image = Some(profile.image.clone());
        }
        self
    }
}

/// Runs the attempt; returns the profile that the slot is likeliest to need next.
pub(super) async fn run(worker: Arc<Worker>, run: Run) -> Option<Profile> {
    let Run { claimed, mut held, start } = run;
    let log = worker.log_for(&claimed.claim);
    let (ending, profile) = match start {
        Start::Fresh(nest) => fresh(&worker, &claimed, &mut held, nest, &log).await,
        Start::Resumed { sandbox, stored } => {
            info!(log, "re-attached"; "container" => short(sandbox.container()), "stored_chunks" => stored.len());
            let ending = follow::follow(&worker, &claimed, &mut held, *sandbox, stored, &log).await;
            (ending, None)
        }
    };
    settle(&worker, &held, ending, &log).await;
    profile
}

async fn fresh(
    worker: &Worker,
    claimed: &Claimed,
    held: &mut Held,
    nest: Nest,
    log: &Logger,
) -> (Ending, Option<Profile>) {
    info!(log, "claimed"; "runtime" => &claimed.runtime, "waited_ms" => claimed.waited.as_millis() as u64);
    let begun = Instant::now();
    match hand_over::hand_over(worker, claimed, held, nest, log).await {
        Ok((sandbox, profile)) => {
            info!(log, "running"; "container" => short(sandbox.container()));
            let sandbox_took = begun.elapsed();
            let ending = follow::follow(worker, claimed, held, sandbox, Vec::new(), log).await;
            (ending.came_from(sandbox_took, &profile), Some(profile))
        }
        Err(ending) => (ending, None),
    }
}

/// Records how it ended; the sandbox goes away after the answer, not before it.
async fn settle(worker: &Worker, held: &Held, ending: Ending, log: &Logger) {
    match ending {
        Ending::Concluded(conclusion, sandbox, last_event) => {
            let status = conclusion.outcome.status();
            let reason = conclusion.outcome.error().unwrap_or_default().to_owned();
            let message = Finish { claim: held.claim.clone(), conclusion: Arc::new(*conclusion) };
            match worker.recorder.send(message).await {
                Ok(Recorded::Stored) => info!(log, "{}", status; "reason" => reason),
                Ok(Recorded::ClaimLost) => warn!(log, "claim lost; its result is not this one's to write"),
                Err(error) => warn!(log, "the recorder is gone"; "error" => %error),
            }
            if let Some(mut sandbox) = sandbox {
                sandbox.ack(last_event).await;
                drop(sandbox);
            }
        }
        Ending::Released => {
            let released = worker.recorder.send(Release { claim: held.claim.clone() }).await;
            if let Err(error) = released {
                warn!(log, "the recorder is gone"; "error" => %error);
            }
            if !worker.is_draining() && *held.orders.borrow() == Order::GoOn {
                tokio::time::sleep(REST).await;
            }
        }
        Ending::ClaimLost => warn!(log, "claim lost; sandbox stopped, nothing written"),
    }
}

fn short(container: &str) -> &str {
    container.get(..12).unwrap_or(container)
}
