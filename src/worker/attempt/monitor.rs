//! A job that runs: its events go to the Recorder, orders and the outer deadline to the sandbox.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rgrid_init::Event;
use slog::{Logger, info, warn};
use tokio::time::{Instant, sleep_until};

use crate::execution::{AppendReply, Claim, Stream};
use crate::failpoint;
use crate::sandbox::{Sandbox, SandboxError, SandboxEvent};
use crate::worker::active_claims::ClaimHandle;
use crate::worker::attempt::output_buffer::{OutputBuffer, Phase};
use crate::worker::attempt::start_marker::Begun;
use crate::worker::recorder::Append;
use crate::worker::{Signal, Worker};

/// Output of a run that goes on is stored so long after it came: a short run ends before, and its
/// output goes into the final write alone.
const FLUSH_AFTER: Duration = Duration::from_millis(50);
/// A run that has gone on for so long is no short one: its followers see a line sooner, though no more often.
const NO_LONGER_SHORT: Duration = Duration::from_millis(250);
const FLUSH_SOON: Duration = Duration::from_millis(5);

/// An append on its way: the Recorder's verdict, and the last event it covers.
type Storing = Pin<Box<dyn Future<Output = (AppendReply, u64)>>>;
/// Ends when the job takes more than it may.
pub(crate) type Alarm<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// What woke the loop.
enum News {
    SandboxEvent(Box<SandboxEvent>),
    Broken(SandboxError),
    Stored(AppendReply, u64),
    FlushDue,
    Ordered(Signal),
    Deadline,
    Alarm,
}

/// A job that has been handed over.
pub(crate) struct Running<'a> {
    pub sandbox: Sandbox,
    /// What it said so far, and what of it there will be.
    pub transcript: OutputBuffer,
    /// The init keeps the deadline itself; this one is for an init that can't.
    pub longest: Duration,
    pub alarm: Option<Alarm<'a>>,
}

/// A job of which nothing more will come.
pub(crate) struct Followed {
    pub end: End,
    pub sandbox: Sandbox,
    pub transcript: OutputBuffer,
}

/// Why there is nothing more to follow.
pub(crate) enum End {
    Exit(u64, Box<rgrid_init::Exit>),
    Broken(SandboxError),
    Overdue,
    Alarm,
    Released,
    ClaimLost,
}

/// Follows the job to its end.
pub(crate) async fn follow(
    worker: &Arc<Worker>,
    claim: &Claim,
    held: &mut ClaimHandle,
    job: Running<'_>,
) -> Followed {
    let mut following = Following {
        worker,
        claim,
        sandbox: job.sandbox,
        transcript: job.transcript,
        storing: None,
        flush_at: None,
        since: Instant::now(),
        flushed: Instant::now(),
        deadline: Instant::now() + job.longest,
        alarm: job.alarm,
        begun: None,
    };
    failpoint::hit("run.following").await;
    // An order that came before the job was handed over.
    held.signals.mark_changed();
    loop {
        let news = following.news(held).await;
        if let Some(end) = following.digest(news).await {
            return following.leave(end).await;
        }
    }
}

struct Following<'a> {
    worker: &'a Arc<Worker>,
    claim: &'a Claim,
    sandbox: Sandbox,
    transcript: OutputBuffer,
    storing: Option<Storing>,
    flush_at: Option<Instant>,
    since: Instant,
    flushed: Instant,
    deadline: Instant,
    alarm: Option<Alarm<'a>>,
    begun: Option<Begun>,
}

impl Following<'_> {
    async fn news(&mut self, held: &mut ClaimHandle) -> News {
        let flush_at = self.flush_at.filter(|_| self.storing.is_none());
        tokio::select! {
            biased;
            changed = held.signals.changed() => match changed {
                Ok(()) => News::Ordered(*held.signals.borrow()),
                Err(_) => News::Ordered(Signal::Release),
            },
            (verdict, upto) = finished(&mut self.storing) => News::Stored(verdict, upto),
            step = self.sandbox.next_event() => step.map_or_else(News::Broken, |step| News::SandboxEvent(Box::new(step))),
            () = at(flush_at) => News::FlushDue,
            () = sleep_until(self.deadline) => News::Deadline,
            () = rung(&mut self.alarm) => News::Alarm,
        }
    }

    async fn digest(&mut self, news: News) -> Option<End> {
        match news {
            News::SandboxEvent(step) => return self.take(*step),
            News::Broken(broken) => return Some(End::Broken(broken)),
            News::FlushDue => self.flush(),
            News::Stored(verdict, upto) => {
                self.storing = None;
                match verdict {
                    AppendReply::ClaimLost => return Some(End::ClaimLost),
                    AppendReply::CancelRequested => self.sandbox.cancel().await,
                    AppendReply::Continue => {}
                }
                self.sandbox.ack(upto).await;
            }
            News::Ordered(Signal::Continue) => {}
            News::Ordered(Signal::Cancel) => self.sandbox.cancel().await,
            News::Ordered(Signal::Release) => return Some(End::Released),
            News::Ordered(Signal::Lost) => return Some(End::ClaimLost),
            News::Deadline => return Some(End::Overdue),
            News::Alarm => return Some(End::Alarm),
        }
        None
    }

    fn take(&mut self, SandboxEvent { seq, event }: SandboxEvent) -> Option<End> {
        match event {
            Event::Started { step } => {
                self.transcript.pass(seq);
                if step == rgrid_init::JobStep::Script && self.transcript.phase() == Phase::Script {
                    self.begun = Some(Begun::note_soon(self.worker, self.claim));
                }
            }
            Event::Output { stream, text } => {
                let stream = stream_of(stream, self.transcript.phase());
                self.transcript.take(seq, stream, text);
                let due = self.flush_at.unwrap_or_else(|| self.next_flush());
                self.flush_at = Some(due);
            }
            Event::Exit(exit) => return Some(End::Exit(seq, Box::new(exit))),
        }
        None
    }

    /// For what came just now.
    fn next_flush(&self) -> Instant {
        let now = Instant::now();
        match now - self.since < NO_LONGER_SHORT {
            true => now + FLUSH_AFTER,
            false => (self.flushed + FLUSH_AFTER).max(now + FLUSH_SOON),
        }
    }

    fn flush(&mut self) {
        self.flush_at = None;
        self.flushed = Instant::now();
        if !self.transcript.has_pending() {
            return;
        }
        let (chunks, upto) = self.transcript.take_pending();
        let (worker, claim) = (Arc::clone(self.worker), self.claim.clone());
        self.storing = Some(Box::pin(async move {
            // A recorder that is gone takes the whole process with it; the text stays in the transcript.
            let verdict = worker.record(Append { claim, chunks }).await;
            (verdict.unwrap_or(AppendReply::Continue), upto)
        }));
    }

    /// One entry at a time: the final write must not overtake an append.
    async fn leave(mut self, end: End) -> Followed {
        if let Some(storing) = self.storing.take() {
            storing.await;
        }
        Followed { end, sandbox: self.sandbox, transcript: self.transcript }
    }
}

/// Stops a sandbox whose claim is lost, unless it is another worker's by now: one on the same host may have taken
/// over the very run.
pub(crate) async fn forsake(worker: &Worker, claim: &Claim, sandbox: Sandbox, log: &Logger) {
    match worker.store.running_claim(&claim.execution, claim.attempt).await {
        Ok(None) => drop(sandbox),
        Ok(Some(owner)) => {
            info!(log, "another worker follows it in the same sandbox"; "owner" => %owner.worker);
            sandbox.detach();
        }
        Err(error) => {
            warn!(log, "whose the sandbox is now is left to the next sweep"; "error" => %error);
            sandbox.detach();
        }
    }
}

/// All that an install says belongs to one stream.
fn stream_of(stream: rgrid_init::Stream, phase: Phase) -> Stream {
    match stream {
        _ if phase == Phase::Install => Stream::Install,
        rgrid_init::Stream::Install => Stream::Install,
        rgrid_init::Stream::Stdout => Stream::Stdout,
        rgrid_init::Stream::Stderr => Stream::Stderr,
    }
}

async fn rung(alarm: &mut Option<Alarm<'_>>) {
    match alarm {
        Some(alarm) => alarm.await,
        None => std::future::pending().await,
    }
}

async fn finished(storing: &mut Option<Storing>) -> (AppendReply, u64) {
    match storing {
        Some(storing) => storing.await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
