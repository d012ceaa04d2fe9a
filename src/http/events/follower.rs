//! One connection that follows an execution.
//!
//! A follower pulls: it reads the next page from the store only when the client has taken the previous one. A slow reader
//! therefore holds one page of memory, and following an execution of another process is no special case.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Bytes;
use rgrid_api::{OutputEvent, Status, StatusEvent};
use serde::Serialize;
use slog::debug;
use tokio::time::{Instant, sleep, sleep_until};

use crate::execution::{ExecutionId, StreamOffsets};
use crate::http::events::follower_limit::FollowerPermit;
use crate::http::events::tail::Tail;
use crate::http::limit_suggestion;
use crate::http::server::Api;
use crate::store::{Chunk, Progress, Store, StoreError, Subscription};

/// Notifications may get lost, so a follower also polls, with increasing intervals.
const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(5);
/// Changes of the queue position have no notification. Followers far back in the queue poll less often.
const QUEUE_POLL_MAX: Duration = Duration::from_secs(1);
const QUEUE_FRONT: u64 = 100;
/// Lets proxies and clients distinguish silence from a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) struct Follower {
    api: Arc<Api>,
    id: ExecutionId,
    /// The end of what the client has received.
    sent: StreamOffsets,
    /// The end of the chunks that were read; before `sent` until a reconnected client's position is found.
    read: StreamOffsets,
    chunk: u64,
    reported: Option<Progress>,
    tail: Tail,
    subscription: Subscription,
    poll_after: Duration,
    last_sent: Instant,
    last_renewed: Instant,
    permit: FollowerPermit,
    ended: bool,
}

enum Wakeup {
    Poll,
    KeepAlive,
    Closed,
}

impl Follower {
    pub fn new(
        api: Arc<Api>,
        id: ExecutionId,
        sent: StreamOffsets,
        subscription: Subscription,
        permit: FollowerPermit,
    ) -> Self {
        let tail = Tail::new(id.clone());
        Self {
            api,
            id,
            sent,
            read: StreamOffsets::start_of(sent.attempt),
            chunk: 0,
            reported: None,
            tail,
            subscription,
            poll_after: POLL_MIN,
            last_sent: Instant::now(),
            last_renewed: Instant::now(),
            permit,
            ended: false,
        }
    }

    /// The next events for the client; `None` when there will be no more.
    pub async fn next(&mut self) -> Option<Bytes> {
        while !self.ended {
            match self.poll().await {
                Ok(events) if !events.is_empty() => return Some(self.send(events)),
                Ok(_) => {}
                Err(error) if error.is_transient() => sleep(RETRY_INTERVAL).await,
                Err(error) => {
                    debug!(self.api.log, "follower disconnected"; "execution" => %self.id, "error" => %error);
                    return None;
                }
            }
            match self.wait().await {
                Wakeup::Poll => {}
                Wakeup::KeepAlive => return Some(self.send(": keep-alive\n\n".to_owned())),
                Wakeup::Closed => return None,
            }
        }
        None
    }

    fn send(&mut self, events: String) -> Bytes {
        self.last_sent = Instant::now();
        events.into()
    }

    async fn wait(&mut self) -> Wakeup {
        if self.last_renewed.elapsed() > Store::FOLLOW_RENEWAL {
            self.last_renewed = Instant::now();
            self.api.store.renew_follow(&self.id);
        }
        let position = self.reported.as_ref().and_then(|progress| progress.queue_position);
        let poll_max =
            if position.is_some_and(|position| position <= QUEUE_FRONT) { QUEUE_POLL_MAX } else { POLL_MAX };
        tokio::select! {
            () = self.subscription.changed() => self.poll_after = POLL_MIN,
            () = sleep(self.poll_after) => self.poll_after = (self.poll_after * 2).clamp(POLL_MIN, poll_max),
            () = sleep_until(self.last_sent + KEEP_ALIVE) => return Wakeup::KeepAlive,
            () = self.permit.closed() => return Wakeup::Closed,
        }
        Wakeup::Poll
    }

    /// The events since the previous poll.
    async fn poll(&mut self) -> Result<String, StoreError> {
        let progress = self.api.store.progress(&self.id).await?;
        let (status, mut events) = (progress.status, String::new());
        if self.reported.as_ref() != Some(&progress) {
            self.write_status(progress, &mut events);
        }
        match status {
            Status::Queued => {}
            Status::Running => self.write_chunks(&mut events).await?,
            _ => self.write_tail(&mut events).await?,
        }
        Ok(events)
    }

    fn write_status(&mut self, progress: Progress, events: &mut String) {
        let starts = progress.attempt > self.sent.attempt && progress.status != Status::Queued;
        let restarted = starts && self.sent.attempt > 0;
        if starts {
            self.sent = StreamOffsets::start_of(progress.attempt);
            self.read = self.sent;
            self.chunk = 0;
        }
        if self.reported.is_none() {
            events.push_str("retry: 1000\n");
        }
        let status = StatusEvent {
            status: progress.status,
            attempt: progress.attempt.unsigned_abs(),
            phase: progress.phase,
            queue_position: progress.queue_position,
            waits_for: progress.waits_for.clone(),
            restarted,
        };
        self.reported = Some(progress);
        write_event(events, &self.sent, "status", &status);
    }

    async fn write_chunks(&mut self, events: &mut String) -> Result<(), StoreError> {
        let chunks = self.api.store.next_chunks(&self.id, self.sent.attempt, self.chunk).await?;
        let is_page = !chunks.is_empty();
        for Chunk { seq, stream, text } in chunks {
            self.chunk = seq;
            let start = self.read.of(stream);
            let end = start + text.len() as u64;
            self.read.set(stream, end);
            let known = usize::try_from(self.sent.of(stream).saturating_sub(start)).unwrap_or(usize::MAX);
            if let Some(new) = text.get(known.min(text.len())..).filter(|new| !new.is_empty()) {
                self.sent.set(stream, end);
                let output = OutputEvent { stream, text: new.to_owned(), cut: None };
                write_event(events, &self.sent, "output", &output);
            }
        }
        // The client already has this page, so the next one is read without delay.
        if is_page && events.is_empty() {
            self.poll_after = Duration::ZERO;
        }
        Ok(())
    }

    async fn write_tail(&mut self, events: &mut String) -> Result<(), StoreError> {
        match self.tail.next(&self.api.store, &mut self.sent).await? {
            Some(output) => write_event(events, &self.sent, "output", &output),
            None => {
                let mut execution = self.api.store.execution_without_output(&self.id).await?;
                execution.next_try = limit_suggestion::for_retry(&execution, &self.api.settings);
                self.sent.ended = true;
                self.ended = true;
                write_event(events, &self.sent, "end", &execution);
            }
        }
        Ok(())
    }
}

/// JSON contains no line breaks, so one `data` line is enough.
fn write_event(events: &mut String, id: &StreamOffsets, event: &str, data: &impl Serialize) {
    // Serializing these types cannot fail.
    let data = serde_json::to_string(data).unwrap_or_default();
    events.push_str(&format!("id: {id}\nevent: {event}\ndata: {data}\n\n"));
}
