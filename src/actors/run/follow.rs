//! A job that runs: its events go to the Recorder, orders and the outer deadline to the sandbox.

use std::pin::Pin;
use std::time::Duration;

use rgrid_init::{Event, Phase};
use slog::{Logger, error, warn};
use tokio::time::{Instant, sleep_until};

use super::begun::Begun;
use super::transcript::Transcript;
use super::{Ending, conclude, job};
use crate::actors::claims::Held;
use crate::actors::recorder::Append;
use crate::actors::{Order, Worker};
use crate::execution::{Claimed, Stream, Verdict};
use crate::sandbox::{Sandbox, SandboxError, Step};
use crate::store::Chunk;

/// Output of a run that goes on is stored so long after it came: a short run ends before, and its
/// output goes into the final write alone.
const FLUSH_AFTER: Duration = Duration::from_millis(50);

/// An append on its way: the Recorder's verdict, and the last event it covers.
type Storing = Pin<Box<dyn Future<Output = (Verdict, u64)>>>;

/// What woke the loop.
enum News {
    Step(Result<Step, SandboxError>),
    Stored(Verdict, u64),
    FlushDue,
    Ordered(Order),
    Deadline,
}

/// Follows the job to its end.
pub(super) async fn follow(
    worker: &Worker,
    claimed: &Claimed,
    held: &mut Held,
    sandbox: Sandbox,
    stored: Vec<Chunk>,
    log: &Logger,
) -> Ending {
    let mut following = Following::new(worker, claimed, sandbox, stored, log);
    // An order that came before the job was handed over.
    held.orders.mark_changed();
    loop {
        let news = following.news(held).await;
        if let Some(end) = following.digest(news).await {
            return following.conclude(end).await;
        }
    }
}

/// Why there is nothing more to follow.
enum End {
    Exit(u64, Box<rgrid_init::Exit>),
    Broken(SandboxError),
    Overdue,
    Released,
    ClaimLost,
}

struct Following<'a> {
    worker: &'a Worker,
    claimed: &'a Claimed,
    log: &'a Logger,
    sandbox: Sandbox,
    transcript: Transcript,
    storing: Option<Storing>,
    flush_at: Option<Instant>,
    deadline: Instant,
    begun: Option<Begun>,
}

impl<'a> Following<'a> {
    fn new(
        worker: &'a Worker,
        claimed: &'a Claimed,
        sandbox: Sandbox,
        stored: Vec<Chunk>,
        log: &'a Logger,
    ) -> Self {
        let longest = worker.runtimes.get(&claimed.runtime).map_or(claimed.timeout, |runtime| {
            job::outer_deadline(&job::job(claimed, runtime, &worker.settings))
        });
        Self {
            worker,
            claimed,
            log,
            sandbox,
            transcript: Transcript::resumed(stored),
            storing: None,
            flush_at: None,
            deadline: Instant::now() + longest,
            begun: None,
        }
    }

    async fn news(&mut self, held: &mut Held) -> News {
        let flush_at = self.flush_at.filter(|_| self.storing.is_none());
        tokio::select! {
            biased;
            changed = held.orders.changed() => match changed {
                Ok(()) => News::Ordered(*held.orders.borrow()),
                Err(_) => News::Ordered(Order::Release),
            },
            (verdict, upto) = finished(&mut self.storing) => News::Stored(verdict, upto),
            step = self.sandbox.next() => News::Step(step),
            () = at(flush_at) => News::FlushDue,
            () = sleep_until(self.deadline) => News::Deadline,
        }
    }

    async fn digest(&mut self, news: News) -> Option<End> {
        match news {
            News::Step(Ok(step)) => return self.take(step),
            News::Step(Err(broken)) => return Some(End::Broken(broken)),
            News::FlushDue => self.flush(),
            News::Stored(verdict, upto) => {
                self.storing = None;
                match verdict {
                    Verdict::ClaimLost => return Some(End::ClaimLost),
                    Verdict::CancelRequested => self.sandbox.cancel().await,
                    Verdict::Continue => {}
                }
                self.sandbox.ack(upto).await;
            }
            News::Ordered(Order::GoOn) => {}
            News::Ordered(Order::Cancel) => self.sandbox.cancel().await,
            News::Ordered(Order::Release) => return Some(End::Released),
            News::Ordered(Order::Lost) => return Some(End::ClaimLost),
            News::Deadline => return Some(End::Overdue),
        }
        None
    }

    fn take(&mut self, Step { seq, event }: Step) -> Option<End> {
        match event {
            Event::Started { phase } => {
                self.transcript.pass(seq);
                if phase == Phase::Script {
                    self.begun = Some(Begun::note_soon(self.worker, &self.claimed.claim));
                }
            }
            Event::Output { stream, text } => {
                self.transcript.take(seq, stream_of(stream), text);
                self.flush_at.get_or_insert_with(|| Instant::now() + FLUSH_AFTER);
            }
            Event::Exit(exit) => return Some(End::Exit(seq, Box::new(exit))),
        }
        None
    }

    fn flush(&mut self) {
        self.flush_at = None;
        if !self.transcript.has_pending() {
            return;
        }
        let (chunks, upto) = self.transcript.take_pending();
        let (recorder, claim) = (self.worker.recorder.clone(), self.claimed.claim.clone());
        self.storing = Some(Box::pin(async move {
            // A recorder that is gone takes the whole process with it; the text stays in the transcript.
            let verdict = recorder.send(Append { claim, chunks }).await;
            (verdict.unwrap_or(Verdict::Continue), upto)
        }));
    }

    async fn conclude(mut self, end: End) -> Ending {
        // One entry at a time: the final write must not overtake an append.
        if let Some(storing) = self.storing.take() {
            storing.await;
        }
        let Self { worker, claimed, log, mut sandbox, transcript, .. } = self;
        match end {
            End::Exit(seq, exit) => {
                let conclusion =
                    conclude::exited(worker, claimed, &mut sandbox, &transcript, *exit, log).await;
                Ending::Concluded(Box::new(conclusion), Some(Box::new(sandbox)), seq)
            }
            End::Broken(reason) => {
                warn!(log, "the sandbox is gone"; "reason" => %reason);
                let conclusion = conclude::broken(claimed, &transcript, &reason);
                Ending::Concluded(Box::new(conclusion), Some(Box::new(sandbox)), 0)
            }
            End::Overdue => {
                error!(log, "the init did not keep the deadline; its container is killed");
                Ending::Concluded(
                    Box::new(conclude::overdue(claimed, &transcript)),
                    Some(Box::new(sandbox)),
                    0,
                )
            }
            End::Released => {
                drop(sandbox);
                Ending::Released
            }
            End::ClaimLost => {
                drop(sandbox);
                Ending::ClaimLost
            }
        }
    }
}

fn stream_of(stream: rgrid_init::Stream) -> Stream {
    match stream {
        rgrid_init::Stream::Install => Stream::Install,
        rgrid_init::Stream::Stdout => Stream::Stdout,
        rgrid_init::Stream::Stderr => Stream::Stderr,
    }
}

async fn finished(storing: &mut Option<Storing>) -> (Verdict, u64) {
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
