//! The Recorder writes the output and the results of executions to the store.
//!
//! Its mailbox is its only queue. While a batch is written, further messages wait in the mailbox, and then become the
//! next batch. The queue is bounded, because an attempt waits for the reply to one message before it sends the next;
//! more output waits in the sandbox's init.

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, ResponseFuture, Supervised,
    Supervisor, WrapFuture, fut,
};
use parking_lot::Mutex;
use slog::{Logger, error, info, warn};
use tokio::sync::oneshot;

use crate::execution::{AppendReply, Claim, ExecutionRecord, FailureKind, ReleaseReason};
use crate::failpoint;
use crate::metrics::METRICS;
use crate::store::{Chunk, FinishReply, Store, StoreError};
use crate::worker::supervision::{FatalError, PanicCounter};

/// The pause after a failure doubles from the first to the longest, plus up to half of it at random.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Messages that may wait without blocking their senders.
const MAILBOX_CAPACITY: usize = 256;

/// A panic interrupted the write. The message can be sent again, because every write is fenced by its attempt.
#[derive(Debug)]
pub struct Interrupted;

/// Output of a running script.
#[derive(Message, Clone)]
#[rtype(result = "Result<AppendReply, Interrupted>")]
pub struct Append {
    pub claim: Claim,
    pub chunks: Vec<Chunk>,
}

/// The result of an execution.
#[derive(Message, Clone)]
#[rtype(result = "Result<FinishReply, Interrupted>")]
pub struct Finish {
    pub claim: Claim,
    pub record: Arc<ExecutionRecord>,
}

/// Give a claim back to the queue.
#[derive(Message, Clone)]
#[rtype(result = "Result<(), Interrupted>")]
pub struct Release {
    pub claim: Claim,
    pub reason: ReleaseReason,
}

/// A message with the sender of its reply.
enum Entry {
    Append(Append, oneshot::Sender<AppendReply>),
    Finish(Finish, oneshot::Sender<FinishReply>),
    Release(Release, oneshot::Sender<()>),
}

/// Why results are waiting to be stored, if they are. Clones share it.
#[derive(Clone, Default)]
pub struct Backlog(Arc<Mutex<Option<String>>>);

impl Backlog {
    pub fn reason(&self) -> Option<String> {
        self.0.lock().clone()
    }

    fn set(&self, reason: Option<String>) {
        *self.0.lock() = reason;
    }
}

pub struct Recorder {
    writer: Writer,
    /// Filled from the mailbox immediately before it is written.
    batch: Vec<Entry>,
    panics: PanicCounter,
}

impl Recorder {
    pub fn start(store: Store, backlog: Backlog, fatal: FatalError, log: &Logger) -> Addr<Self> {
        let log = log.new(slog::o!("actor" => "recorder"));
        Supervisor::start(|_| Self {
            panics: PanicCounter::new("recorder", fatal, log.clone()),
            writer: Writer { store, backlog, log },
            batch: Vec::new(),
        })
    }

    fn add<T: 'static>(
        &mut self,
        ctx: &mut Context<Self>,
        entry: impl FnOnce(oneshot::Sender<T>) -> Entry,
    ) -> ResponseFuture<Result<T, Interrupted>> {
        if self.batch.is_empty() {
            // The context polls futures after it has emptied the mailbox.
            let mailbox_empty = fut::wrap_future::<_, Self>(std::future::ready(()));
            ctx.spawn(mailbox_empty.map(|(), recorder, ctx| recorder.write_batch(ctx)));
        }
        let (sender, reply) = oneshot::channel();
        self.batch.push(entry(sender));
        Box::pin(async { reply.await.map_err(|_| Interrupted) })
    }

    fn write_batch(&mut self, ctx: &mut Context<Self>) {
        let task = actix_rt::spawn(self.writer.clone().write(std::mem::take(&mut self.batch)));
        ctx.wait(task.into_actor(self).map(|written, recorder, ctx| {
            if written.is_err_and(|stopped| stopped.is_panic()) {
                recorder.panics.restart_actor(ctx);
            }
        }));
    }
}

impl Actor for Recorder {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.panics.started();
        ctx.set_mailbox_capacity(MAILBOX_CAPACITY);
    }
}

impl Supervised for Recorder {}

impl Handler<Append> for Recorder {
    type Result = ResponseFuture<Result<AppendReply, Interrupted>>;

    fn handle(&mut self, message: Append, ctx: &mut Context<Self>) -> Self::Result {
        self.add(ctx, |reply| Entry::Append(message, reply))
    }
}

impl Handler<Finish> for Recorder {
    type Result = ResponseFuture<Result<FinishReply, Interrupted>>;

    fn handle(&mut self, message: Finish, ctx: &mut Context<Self>) -> Self::Result {
        self.add(ctx, |reply| Entry::Finish(message, reply))
    }
}

impl Handler<Release> for Recorder {
    type Result = ResponseFuture<Result<(), Interrupted>>;

    fn handle(&mut self, message: Release, ctx: &mut Context<Self>) -> Self::Result {
        self.add(ctx, |reply| Entry::Release(message, reply))
    }
}

#[derive(Clone)]
struct Writer {
    store: Store,
    backlog: Backlog,
    log: Logger,
}

impl Writer {
    async fn write(self, batch: Vec<Entry>) {
        failpoint::hit("recorder.writing").await;
        let mut finishes = Vec::new();
        for entry in batch {
            match entry {
                Entry::Finish(finish, reply) => finishes.push((finish, reply)),
                Entry::Append(append, reply) => {
                    let _ = reply.send(self.append(append).await);
                }
                Entry::Release(release, reply) => {
                    self.release(release).await;
                    let _ = reply.send(());
                }
            }
        }
        if !finishes.is_empty() {
            self.finish(finishes).await;
        }
    }

    async fn append(&self, Append { claim, chunks }: Append) -> AppendReply {
        let stored = self.retry(|| self.store.append(&claim, chunks.clone())).await;
        stored.unwrap_or_else(|error| {
            error!(self.log, "storing output failed"; "execution" => %claim.execution, "error" => %error);
            // The attempt keeps the text in memory and writes it with the result.
            AppendReply::Continue
        })
    }

    async fn release(&self, Release { claim, reason }: Release) {
        match self.retry(|| self.store.release(&claim, reason)).await {
            Ok(Some(released)) => info!(self.log, "released"; "execution" => %claim.execution,
                "attempt" => claim.attempt, "becomes" => released.status.as_str()),
            Ok(None) => warn!(self.log, "claim lost before its release"; "execution" => %claim.execution),
            Err(error) => {
                // Its lease expires, and the execution is rescued.
                error!(self.log, "releasing a claim failed"; "execution" => %claim.execution, "error" => %error);
            }
        }
    }

    /// One transaction for all, because a commit costs more than the statements in it.
    async fn finish(&self, finishes: Vec<(Finish, oneshot::Sender<FinishReply>)>) {
        let rows: Vec<_> =
            (finishes.iter()).map(|(finish, _)| (finish.claim.clone(), Arc::clone(&finish.record))).collect();
        match self.retry(|| self.store.finish(rows.clone())).await {
            Ok(recorded) => {
                for ((_, reply), recorded) in finishes.into_iter().zip(recorded) {
                    let _ = reply.send(recorded);
                }
            }
            Err(error) => {
                warn!(self.log, "storing results together failed; storing them one by one"; "error" => %error);
                for (finish, reply) in finishes {
                    let _ = reply.send(self.finish_one(finish).await);
                }
            }
        }
    }

    /// An accepted execution gets a result even if its real one cannot be stored.
    async fn finish_one(&self, Finish { claim, record }: Finish) -> FinishReply {
        let row = vec![(claim.clone(), record)];
        let error = match self.retry(|| self.store.finish(row.clone())).await {
            Ok(recorded) => return recorded.first().copied().unwrap_or(FinishReply::ClaimLost),
            Err(error) => error,
        };
        error!(self.log, "storing a result failed"; "execution" => %claim.execution, "error" => %error);
        let reason = "the script ran, but its result could not be stored; the daemon's log says why";
        let row = vec![(claim, Arc::new(ExecutionRecord::failed(FailureKind::Internal, reason)))];
        let recorded = self.retry(|| self.store.finish(row.clone())).await.unwrap_or_default();
        recorded.first().copied().unwrap_or(FinishReply::ClaimLost)
    }

    /// Retries for as long as the database is unavailable.
    async fn retry<T, F>(&self, mut write: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            match write().await {
                Err(error) if error.is_transient() => {
                    METRICS.retries.add(&["record"], 1);
                    warn!(self.log, "the database is unavailable; retrying"; "error" => %error,
                        "in_ms" => pause.as_millis() as u64);
                    self.backlog.set(Some(error.to_string()));
                    tokio::time::sleep(pause + jitter(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                done => {
                    self.backlog.set(None);
                    return done;
                }
            }
        }
    }
}

/// Up to half of the pause, so that many daemons do not reconnect at the same moment.
fn jitter(pause: Duration) -> Duration {
    let mut byte = [0u8; 1];
    let random = getrandom::fill(&mut byte).map_or(128, |()| u32::from(byte[0]));
    pause * random / 512
}
