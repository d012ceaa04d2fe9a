//! The Recorder: everything that runs leave behind goes through it to the store.
//!
//! It holds what it cannot store yet, in order, and tries again until it can. What it holds is
//! bounded: an Executor has one entry here at a time and goes on when it is answered; the rest waits
//! in the sandbox's init.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, ResponseFuture};
use slog::{Logger, error, info, warn};
use tokio::sync::{Notify, oneshot};

use crate::execution::{AppendReply, Claim, ExecutionRecord, FailureKind};
use crate::failpoint;
use crate::metrics::METRICS;
use crate::store::{Chunk, FinishReply, Store, StoreError};
use crate::worker::tended::{FatalError, tend};

/// First pause after a failure; doubles up to [`LONGEST_PAUSE`], each with up to half of it at random.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Output of a run that goes on.
#[derive(Message)]
#[rtype(result = "AppendReply")]
pub struct Append {
    pub claim: Claim,
    pub chunks: Vec<Chunk>,
}

/// The end of a run.
#[derive(Message)]
#[rtype(result = "FinishReply")]
pub struct Finish {
    pub claim: Claim,
    pub conclusion: Arc<ExecutionRecord>,
}

/// A claim goes back to the queue.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Release {
    pub claim: Claim,
    /// Its script may have begun.
    pub begun: bool,
}

enum Entry {
    Append { claim: Claim, chunks: Vec<Chunk>, answer: oneshot::Sender<AppendReply> },
    Finish { claim: Claim, conclusion: Arc<ExecutionRecord>, answer: oneshot::Sender<FinishReply> },
    Release { claim: Claim, begun: bool, answer: oneshot::Sender<()> },
}

#[derive(Default)]
struct Inbox {
    entries: Mutex<VecDeque<Entry>>,
    news: Notify,
}

impl Inbox {
    fn push(&self, entry: Entry) {
        self.lock().push_back(entry);
        self.news.notify_one();
    }

    fn take_all(&self) -> VecDeque<Entry> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why results wait, while they do. Cloning shares it.
#[derive(Clone, Default)]
pub struct Backlog(Arc<Mutex<Option<String>>>);

impl Backlog {
    pub fn reason(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, reason: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

pub struct Recorder {
    store: Store,
    inbox: Arc<Inbox>,
    backlog: Backlog,
    fatal: FatalError,
    log: Logger,
}

impl Recorder {
    pub fn new(store: Store, backlog: Backlog, fatal: FatalError, log: &Logger) -> Self {
        Self { store, inbox: Arc::default(), backlog, fatal, log: log.new(slog::o!("actor" => "recorder")) }
    }
}

/// What the loop writes with.
#[derive(Clone)]
struct Pen {
    store: Store,
    backlog: Backlog,
    log: Logger,
}

impl Actor for Recorder {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        let (store, backlog, log) = (self.store.clone(), self.backlog.clone(), self.log.clone());
        let (pen, inbox) = (Pen { store, backlog, log }, Arc::clone(&self.inbox));
        let tended = tend("recorder", self.log.clone(), move || write_all(pen.clone(), Arc::clone(&inbox)));
        let fatal = self.fatal.clone();
        let kept_alive = async move {
            if let Err(reason) = tended.await {
                fatal.report(reason);
            }
        };
        // Not of the actor's context: the loop outlives an actor that panics over a message.
        actix_rt::spawn(kept_alive);
    }
}

impl Handler<Append> for Recorder {
    type Result = ResponseFuture<AppendReply>;

    fn handle(&mut self, message: Append, _: &mut Context<Self>) -> Self::Result {
        let inbox = Arc::clone(&self.inbox);
        Box::pin(async move {
            let Append { claim, chunks } = message;
            answered(&inbox, |answer| Entry::Append { claim: claim.clone(), chunks: chunks.clone(), answer })
                .await
        })
    }
}

impl Handler<Finish> for Recorder {
    type Result = ResponseFuture<FinishReply>;

    fn handle(&mut self, message: Finish, _: &mut Context<Self>) -> Self::Result {
        let inbox = Arc::clone(&self.inbox);
        Box::pin(async move {
            let Finish { claim, conclusion } = message;
            let entry = |answer| {
                let conclusion = Arc::clone(&conclusion);
                Entry::Finish { claim: claim.clone(), conclusion, answer }
            };
            answered(&inbox, entry).await
        })
    }
}

impl Handler<Release> for Recorder {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, message: Release, _: &mut Context<Self>) -> Self::Result {
        let inbox = Arc::clone(&self.inbox);
        Box::pin(async move {
            answered(&inbox, |answer| Entry::Release {
                claim: message.claim.clone(),
                begun: message.begun,
                answer,
            })
            .await;
        })
    }
}

/// An answer that never comes means that the writer panicked over it: the entry is put in again.
async fn answered<T>(inbox: &Inbox, entry: impl Fn(oneshot::Sender<T>) -> Entry) -> T {
    loop {
        let (sender, answer) = oneshot::channel();
        inbox.push(entry(sender));
        if let Ok(answer) = answer.await {
            return answer;
        }
    }
}

async fn write_all(pen: Pen, inbox: Arc<Inbox>) {
    loop {
        let mut entries = inbox.take_all();
        if entries.is_empty() {
            inbox.news.notified().await;
            continue;
        }
        failpoint::hit("recorder.writing").await;
        let mut ended = Vec::new();
        while let Some(entry) = entries.pop_front() {
            match entry {
                Entry::Finish { claim, conclusion, answer } => ended.push((claim, conclusion, answer)),
                Entry::Append { claim, chunks, answer } => {
                    let verdict = pen.append(&claim, chunks).await;
                    let _ = answer.send(verdict);
                }
                Entry::Release { claim, begun, answer } => {
                    pen.release(&claim, begun).await;
                    let _ = answer.send(());
                }
            }
        }
        pen.finish(ended).await;
    }
}

type Ended = (Claim, Arc<ExecutionRecord>, oneshot::Sender<FinishReply>);

impl Pen {
    async fn append(&self, claim: &Claim, chunks: Vec<Chunk>) -> AppendReply {
        let stored = self.patiently(|| self.store.append(claim, chunks.clone())).await;
        stored.unwrap_or_else(|error| {
            error!(self.log, "output could not be stored"; "execution" => %claim.execution, "error" => %error);
            // The text is in the run's transcript and goes into the final write.
            AppendReply::Continue
        })
    }

    async fn release(&self, claim: &Claim, begun: bool) {
        match self.patiently(|| self.store.release(claim, begun)).await {
            Ok(Some(released)) => info!(self.log, "released"; "execution" => %claim.execution,
                "attempt" => claim.attempt, "becomes" => released.status),
            Ok(None) => warn!(self.log, "claim lost before it was released"; "execution" => %claim.execution),
            Err(error) => {
                // Its lease will run out, and it will be rescued.
                error!(self.log, "a claim could not be released"; "execution" => %claim.execution, "error" => %error);
            }
        }
    }

    async fn finish(&self, ended: Vec<Ended>) {
        if ended.is_empty() {
            return;
        }
        let rows: Vec<_> = ended.iter().map(|(claim, end, _)| (claim.clone(), Arc::clone(end))).collect();
        match self.patiently(|| self.store.finish(rows.clone())).await {
            Ok(recorded) => {
                for ((_, _, answer), recorded) in ended.into_iter().zip(recorded) {
                    let _ = answer.send(recorded);
                }
            }
            Err(error) => {
                warn!(self.log, "results could not be stored together, so one by one"; "error" => %error);
                for (claim, conclusion, answer) in ended {
                    let _ = answer.send(self.finish_one(claim, conclusion).await);
                }
            }
        }
    }

    /// The last resort is to store that the result could not be stored: accepted means answered.
    async fn finish_one(&self, claim: Claim, conclusion: Arc<ExecutionRecord>) -> FinishReply {
        let whole = vec![(claim.clone(), conclusion)];
        let error = match self.patiently(|| self.store.finish(whole.clone())).await {
            Ok(recorded) => return recorded.first().copied().unwrap_or(FinishReply::ClaimLost),
            Err(error) => error,
        };
        error!(self.log, "a result could not be stored"; "execution" => %claim.execution, "error" => %error);
        let words = "the script ran, but its result could not be stored; the daemon's log says why";
        let reason = vec![(claim, Arc::new(ExecutionRecord::failed(FailureKind::Internal, words)))];
        let recorded = self.patiently(|| self.store.finish(reason.clone())).await.unwrap_or_default();
        recorded.first().copied().unwrap_or(FinishReply::ClaimLost)
    }

    /// StartAttempts again for as long as the database is away.
    async fn patiently<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            match attempt().await {
                Err(error) if error.is_transient() => {
                    METRICS.retries.add(&["record"], 1);
                    warn!(self.log, "the database is away; trying again"; "error" => %error, "in_ms" => pause.as_millis() as u64);
                    self.backlog.set(Some(error.to_string()));
                    tokio::time::sleep(pause + jitter(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                other => {
                    self.backlog.set(None);
                    return other;
                }
            }
        }
    }
}

/// Up to half of the pause, so that many daemons do not come back in step.
fn jitter(pause: Duration) -> Duration {
    let mut byte = [0u8; 1];
    let random = getrandom::fill(&mut byte).map_or(128, |()| u32::from(byte[0]));
    pause * random / 512
}
