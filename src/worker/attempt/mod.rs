//! One attempt at running an execution, from its claim to its recorded result.

mod dispatch;
mod environment;
mod environment_spec;
mod finish;
mod job;
mod monitor;
mod output_buffer;
mod slot_sandboxes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{Logger, info, warn};
use tokio::sync::watch;

use crate::execution::{Claimed, ExecutionRecord, FailureKind, Outcome, PhaseTimes, ReleaseReason};
use crate::failpoint;
use crate::sandbox::{Profile, Sandbox};
use crate::store::{FinishReply, Reservation};
use crate::worker::recorder::{Finish, Release};
use crate::worker::{Signal, Worker, active_claims::ClaimHandle, executor::Resume};

use dispatch::StartError;
use environment::EnvironmentSetup;
use output_buffer::{OutputBuffer, Source};

pub(crate) use slot_sandboxes::SlotSandboxes;

/// An Executor that released its claim pauses this long, so that a failing Docker does not get the same work again at
/// once.
const PAUSE_AFTER_RELEASE: Duration = Duration::from_secs(5);

/// What the Executor does at the end of an attempt.
#[derive(Debug)]
enum AttemptResult {
    /// Record the result of the execution.
    Finished(Box<ExecutionRecord>),
    /// Give the claim back, so that the execution runs again.
    Released(ReleaseReason),
    /// Write nothing, because the claim belongs to another worker.
    ClaimLost,
}

impl AttemptResult {
    fn failed(kind: FailureKind, error: impl Into<String>) -> Self {
        Self::Finished(Box::new(ExecutionRecord::failed(kind, error)))
    }
}

pub(crate) struct Attempt {
    worker: Arc<Worker>,
    claimed: Claimed,
    handle: ClaimHandle,
    log: Logger,
    /// The slot's sandboxes, for this attempt and the next one.
    sandboxes: SlotSandboxes,
    setup: EnvironmentSetup,
    /// The profile of the sandbox in which this attempt started the script.
    profile: Option<Profile>,
    /// The start command was sent, so the script may have started.
    start_sent: bool,
    output: OutputBuffer,
    phases: PhaseTimes,
    /// The sandbox of a job that has ended or must not go on.
    sandbox: Option<Sandbox>,
    /// The number of the exit event, which the init keeps until it is acknowledged.
    exit_event: u64,
    /// Disk space reserved for the output files.
    reserved: Option<Reservation>,
}

impl Attempt {
    pub fn new(worker: Arc<Worker>, claimed: Claimed, handle: ClaimHandle, sandboxes: SlotSandboxes) -> Self {
        Self {
            log: worker.log_for(&claimed.claim),
            worker,
            claimed,
            handle,
            sandboxes,
            setup: EnvironmentSetup::default(),
            profile: None,
            start_sent: false,
            output: OutputBuffer::default(),
            phases: PhaseTimes::default(),
            sandbox: None,
            exit_event: 0,
            reserved: None,
        }
    }

    /// Runs the claim until its result is recorded. `resume` is the sandbox that an earlier daemon left running.
    pub async fn execute(mut self, resume: Option<Resume>) -> SlotSandboxes {
        let result = match self.run(resume).await {
            Ok(record) => AttemptResult::Finished(Box::new(record)),
            Err(ended) => ended,
        };
        self.store(result).await;
        self.release().await
    }

    async fn run(&mut self, resume: Option<Resume>) -> Result<ExecutionRecord, AttemptResult> {
        let sandbox = match resume {
            Some(resume) => self.resume(resume).await?,
            None => {
                let waited_ms = self.claimed.waited.as_millis() as u64;
                info!(self.log, "claimed"; "runtime" => &self.claimed.runtime, "waited_ms" => waited_ms);
                None
            }
        };
        let sandbox = match sandbox {
            Some(sandbox) => sandbox,
            None => self.start_script().await?, // No script code has run before this returns.
        };
        let timeout = job::outer_deadline(&self.claimed, &self.worker.settings);
        let exit = self.monitor(sandbox, timeout, None).await?;
        self.finish(exit).await
    }

    async fn start_script(&mut self) -> Result<Sandbox, AttemptResult> {
        let started = Instant::now();
        loop {
            let environment = self.prepare_environment().await?;
            // An environment may be removed before its sandbox starts. Then it is prepared again.
            if let Some(sandbox) = self.start_job(environment).await? {
                let setup = self.phases.environment.unwrap_or_default();
                self.phases.sandbox = Some(started.elapsed().saturating_sub(setup));
                self.output.switch_to(Source::Script);
                info!(self.log, "running"; "container" => short(sandbox.container()));
                return Ok(sandbox);
            }
        }
    }

    /// Returns the sandbox in which the script runs, or `None` if it only installed the requirements.
    async fn resume(&mut self, Resume { sandbox, stored }: Resume) -> Result<Option<Sandbox>, AttemptResult> {
        info!(self.log, "re-attached"; "container" => short(sandbox.container()), "stored_chunks" => stored.len());
        match sandbox.builds().cloned() {
            Some(build) => {
                self.output = OutputBuffer::resumed(stored, Source::Install);
                self.resume_install(*sandbox, &build).await?;
                Ok(None)
            }
            None => {
                self.output = OutputBuffer::resumed(stored, Source::Script);
                Ok(Some(*sandbox))
            }
        }
    }

    /// Afterwards, `self.sandbox` is one whose exit event is recorded.
    async fn store(&mut self, result: AttemptResult) {
        match result {
            AttemptResult::Finished(mut record) => {
                record.phases = PhaseTimes { script: record.phases.script, ..self.phases };
                record.image = self.profile.as_ref().map(|profile| profile.image.clone());
                self.store_record(record).await;
            }
            AttemptResult::Released(reason) => {
                // The script must not run here any more when another worker claims it.
                self.sandbox = None;
                let claim = self.handle.claim.clone();
                self.worker.record(Release { claim, reason }).await;
                if !self.worker.is_draining() && *self.handle.signals.borrow() == Signal::Continue {
                    tokio::time::sleep(PAUSE_AFTER_RELEASE).await;
                }
            }
            AttemptResult::ClaimLost => {
                warn!(self.log, "claim lost; nothing written");
                self.leave_to_owner().await;
            }
        }
    }

    async fn store_record(&mut self, record: Box<ExecutionRecord>) {
        let status = record.outcome.status();
        let reason = record.outcome.error().unwrap_or_default().to_owned();
        failpoint::hit("run.concluded").await;
        let finish = Finish { claim: self.handle.claim.clone(), record: Arc::new(*record) };
        let recorded = self.worker.record(finish).await;
        self.reserved = None;
        match recorded {
            Some(FinishReply::Stored) => info!(self.log, "{}", status; "reason" => reason),
            Some(FinishReply::ClaimLost) => {
                warn!(self.log, "claim lost; its result was not written");
                self.leave_to_owner().await;
            }
            None => self.sandbox = None,
        }
    }

    /// Removes the sandbox, unless another worker on this host has taken over the attempt that runs in it.
    async fn leave_to_owner(&mut self) {
        let Some(sandbox) = self.sandbox.take() else { return };
        let claim = &self.handle.claim;
        match self.worker.store.running_claim(&claim.execution, claim.attempt).await {
            Ok(None) => drop(sandbox),
            Ok(Some(owner)) => {
                info!(self.log, "another worker follows it in the same sandbox"; "owner" => %owner.worker);
                sandbox.detach();
            }
            Err(error) => {
                warn!(self.log, "the sandbox's owner is unknown; leaving it to the reconciler"; "error" => %error);
                sandbox.detach();
            }
        }
    }

    /// Runs a step until it is done or a signal ends the attempt.
    async fn unless_signalled<T>(
        &mut self,
        step: impl AsyncFnOnce(&mut Self) -> Result<T, StartError>,
    ) -> Result<T, StartError> {
        let mut signals = self.handle.signals.clone();
        tokio::select! {
            done = step(self) => done,
            ended = ending_signal(&mut signals) => Err(StartError::Ended(ended)),
        }
    }

    async fn pause(&mut self, pause: Duration) -> Result<(), AttemptResult> {
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            ended = ending_signal(&mut self.handle.signals) => Err(ended),
        }
    }
}

/// Waits for a signal that ends an attempt whose script has not started.
async fn ending_signal(signals: &mut watch::Receiver<Signal>) -> AttemptResult {
    loop {
        match *signals.borrow_and_update() {
            Signal::Continue => {}
            Signal::Cancel => {
                let record = finish::record_of(Outcome::Cancelled, OutputBuffer::default().partial());
                return AttemptResult::Finished(Box::new(record));
            }
            Signal::Release => return AttemptResult::Released(ReleaseReason::NotStarted),
            Signal::Lost => return AttemptResult::ClaimLost,
        }
        if signals.changed().await.is_err() {
            return AttemptResult::Released(ReleaseReason::NotStarted);
        }
    }
}

fn short(container: &str) -> &str {
    container.get(..12).unwrap_or(container)
}
