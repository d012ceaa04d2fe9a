//! Follows a running job: sends its output to the Recorder, and signals and the outer deadline to its sandbox.

use std::pin::Pin;
use std::time::Duration;

use rgrid_init::Event;
use slog::{debug, warn};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::execution::{AppendReply, Claim, ReleaseReason, Stream};
use crate::failpoint;
use crate::sandbox::{Sandbox, SandboxError, SandboxEvent};
use crate::worker::attempt::{Attempt, AttemptResult};
use crate::worker::{Signal, Worker, attempt::output_buffer::Source, recorder::Append};

/// Output is stored this long after it arrives. Most scripts end before, and their output is written with the result.
const FLUSH_AFTER: Duration = Duration::from_millis(50);
/// A script that runs for this long is not a short one: its followers see a line sooner, though not more often.
const LONG_AFTER: Duration = Duration::from_millis(250);
const FLUSH_SOON: Duration = Duration::from_millis(5);
/// A script that ends before this needs no statement to mark its start.
const MARK_START_AFTER: Duration = Duration::from_millis(250);

/// How the process of a job ended.
pub(super) enum Exit {
    /// The init reported it.
    Reported(Box<rgrid_init::Exit>),
    SandboxLost(SandboxError),
    /// The outer deadline passed.
    Overdue,
    /// The job's limit was reached.
    LimitReached,
}

/// Completes when a job uses more than it may.
pub(super) type Limit = Pin<Box<dyn Future<Output = ()>>>;

/// A message to the Recorder on its way. Returns the reply and the last event that it covers.
type Storing = Pin<Box<dyn Future<Output = (AppendReply, u64)>>>;

enum Wakeup {
    Event(Box<SandboxEvent>),
    SandboxLost(SandboxError),
    Stored(AppendReply, u64),
    FlushDue,
    Signalled(Signal),
    Deadline,
    LimitReached,
}

struct Monitor<'a> {
    attempt: &'a mut Attempt,
    sandbox: &'a mut Sandbox,
    started: Instant,
    deadline: Instant,
    limit: Option<Limit>,
    storing: Option<Storing>,
    flush_at: Option<Instant>,
    flushed_at: Instant,
    start_marker: Option<StartMarker>,
}

impl Attempt {
    /// Follows a job until it ends, and keeps its sandbox in `self.sandbox`. The init enforces the job's own deadline;
    /// `timeout` is for an init that cannot.
    pub(super) async fn monitor(
        &mut self,
        mut sandbox: Sandbox,
        timeout: Duration,
        limit: Option<Limit>,
    ) -> Result<Exit, AttemptResult> {
        failpoint::hit("run.following").await;
        // A signal may have arrived before the job started.
        self.handle.signals.mark_changed();
        self.exit_event = 0;
        let started = Instant::now();
        let mut monitor = Monitor {
            attempt: &mut *self,
            sandbox: &mut sandbox,
            started,
            deadline: started + timeout,
            limit,
            storing: None,
            flush_at: None,
            flushed_at: started,
            start_marker: None,
        };
        let ended = monitor.follow().await;
        self.sandbox = Some(sandbox);
        ended
    }
}

impl Monitor<'_> {
    async fn follow(&mut self) -> Result<Exit, AttemptResult> {
        let ended = loop {
            let wakeup = self.next_wakeup().await;
            match self.handle_wakeup(wakeup).await {
                Ok(None) => {}
                Ok(Some(exit)) => break Ok(exit),
                Err(ended) => break Err(ended),
            }
        };
        // The result must not overtake output that is still being stored.
        if let Some(storing) = self.storing.take() {
            storing.await;
        }
        ended
    }

    async fn next_wakeup(&mut self) -> Wakeup {
        let flush_at = self.flush_at.filter(|_| self.storing.is_none());
        let signals = &mut self.attempt.handle.signals;
        tokio::select! {
            biased;
            changed = signals.changed() => match changed {
                Ok(()) => Wakeup::Signalled(*signals.borrow()),
                Err(_) => Wakeup::Signalled(Signal::Release),
            },
            (reply, upto) = or_never(self.storing.as_mut()) => Wakeup::Stored(reply, upto),
            event = self.sandbox.next_event() => {
                event.map_or_else(Wakeup::SandboxLost, |event| Wakeup::Event(Box::new(event)))
            }
            () = at(flush_at) => Wakeup::FlushDue,
            () = sleep_until(self.deadline) => Wakeup::Deadline,
            () = or_never(self.limit.as_mut()) => Wakeup::LimitReached,
        }
    }

    async fn handle_wakeup(&mut self, wakeup: Wakeup) -> Result<Option<Exit>, AttemptResult> {
        match wakeup {
            Wakeup::Event(event) => return Ok(self.handle_event(*event)),
            Wakeup::SandboxLost(SandboxError::EngineLost(reason)) => {
                warn!(self.attempt.log, "the sandbox's engine is gone"; "reason" => reason);
                return Err(self.released(ReleaseReason::EngineLost));
            }
            Wakeup::SandboxLost(error) => return Ok(Some(Exit::SandboxLost(error))),
            Wakeup::FlushDue => self.flush(),
            Wakeup::Stored(reply, upto) => {
                self.storing = None;
                match reply {
                    AppendReply::ClaimLost => return Err(AttemptResult::ClaimLost),
                    AppendReply::CancelRequested => self.sandbox.cancel().await,
                    AppendReply::Continue => {}
                }
                self.sandbox.ack(upto).await;
            }
            Wakeup::Signalled(Signal::Continue) => {}
            Wakeup::Signalled(Signal::Cancel) => self.sandbox.cancel().await,
            Wakeup::Signalled(Signal::Release) => return Err(self.released(ReleaseReason::Drained)),
            Wakeup::Signalled(Signal::Lost) => return Err(AttemptResult::ClaimLost),
            Wakeup::Deadline => return Ok(Some(Exit::Overdue)),
            Wakeup::LimitReached => return Ok(Some(Exit::LimitReached)),
        }
        Ok(None)
    }

    /// An install is not the script.
    fn released(&self, reason: ReleaseReason) -> AttemptResult {
        AttemptResult::Released(match self.attempt.output.source() {
            Source::Script => reason,
            Source::Install => ReleaseReason::NotStarted,
        })
    }

    fn handle_event(&mut self, SandboxEvent { seq, event }: SandboxEvent) -> Option<Exit> {
        let output = &mut self.attempt.output;
        match event {
            Event::Started { step } => {
                output.skip_event(seq);
                if step == rgrid_init::JobStep::Script && output.source() == Source::Script {
                    let claim = &self.attempt.handle.claim;
                    self.start_marker = Some(StartMarker::schedule(&self.attempt.worker, claim));
                }
            }
            Event::Output { stream, text } => {
                let stream = match stream {
                    // Both streams of an install are shown as one.
                    _ if output.source() == Source::Install => Stream::Install,
                    rgrid_init::Stream::Install => Stream::Install,
                    rgrid_init::Stream::Stdout => Stream::Stdout,
                    rgrid_init::Stream::Stderr => Stream::Stderr,
                };
                output.add_event(seq, stream, text);
                self.flush_at = Some(self.flush_at.unwrap_or_else(|| self.next_flush()));
            }
            Event::Exit(exit) => {
                self.attempt.exit_event = seq;
                return Some(Exit::Reported(Box::new(exit)));
            }
        }
        None
    }

    fn next_flush(&self) -> Instant {
        let now = Instant::now();
        match now - self.started < LONG_AFTER {
            true => now + FLUSH_AFTER,
            false => (self.flushed_at + FLUSH_AFTER).max(now + FLUSH_SOON),
        }
    }

    fn flush(&mut self) {
        self.flush_at = None;
        self.flushed_at = Instant::now();
        if let Some((chunks, upto)) = self.attempt.output.take_unstored() {
            let (worker, claim) = (self.attempt.worker.clone(), self.attempt.handle.claim.clone());
            self.storing = Some(Box::pin(async move {
                // Without a Recorder the process ends.
                let reply = worker.record(Append { claim, chunks }).await;
                (reply.unwrap_or(AppendReply::Continue), upto)
            }));
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn or_never<F: Future + Unpin>(future: Option<&mut F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Records that a script has started, for its followers. Dropping it cancels a pending write.
struct StartMarker(JoinHandle<()>);

impl StartMarker {
    fn schedule(worker: &Worker, claim: &Claim) -> Self {
        let (store, log, claim) = (worker.store.clone(), worker.log.clone(), claim.clone());
        Self(actix_rt::spawn(async move {
            tokio::time::sleep(MARK_START_AFTER).await;
            if let Err(error) = store.script_started(&claim).await {
                debug!(log, "marking the script's start failed"; "execution" => %claim.execution, "error" => %error);
            }
        }))
    }
}

impl Drop for StartMarker {
    fn drop(&mut self) {
        self.0.abort();
    }
}
