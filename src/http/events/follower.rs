//! One connection that follows an execution.
//!
//! It pulls: the next page is read from the store only when the client has taken the one before, so a slow
//! reader holds one page and nothing else, and a follower of another process's run is no special case.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Bytes;
use rgrid_api::{OutputEvent, Status, StatusEvent};
use serde::Serialize;
use slog::debug;
use tokio::time::{Instant, sleep, sleep_until};

use crate::execution::{ExecutionId, StreamOffsets};
use crate::http::events::follower_limit::Seat;
use crate::http::events::tail::Rest;
use crate::http::limit_suggestion;
use crate::http::server::Api;
use crate::store::{Chunk, Progress, StoreError, Subscription};

/// News may get lost: a follower also looks by itself, soon at first, then ever more rarely.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_secs(5);
/// Nobody tells when a place in the queue changes. Who is far behind looks less often.
const QUEUE_LOOK: Duration = Duration::from_secs(1);
const NEAR: u64 = 100;
/// So that proxies and clients can tell silence from a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const AFTER_ERROR: Duration = Duration::from_secs(1);

pub(crate) struct Follower {
    api: Arc<Api>,
    id: ExecutionId,
    /// What the client has.
    position: StreamOffsets,
    /// What was read of the chunks: behind `position` while a new connection looks for its place.
    read: StreamOffsets,
    chunk: u64,
    told: Option<Progress>,
    rest: Rest,
    watch: Subscription,
    look_after: Duration,
    spoke: Instant,
    said_so: Instant,
    seat: Seat,
    over: bool,
}

enum Woken {
    Look,
    KeepAlive,
    Closing,
}

impl Follower {
    pub fn new(
        api: Arc<Api>,
        id: ExecutionId,
        behind: StreamOffsets,
        watch: Subscription,
        seat: Seat,
    ) -> Self {
        let rest = Rest::new(id.clone());
        Self {
            api,
            id,
            position: behind,
            read: StreamOffsets::start_of(behind.attempt),
            chunk: 0,
            told: None,
            rest,
            watch,
            look_after: FIRST_LOOK,
            spoke: Instant::now(),
            said_so: Instant::now(),
            seat,
            over: false,
        }
    }

    /// The next words for the client; none when there will be no more.
    pub async fn next(&mut self) -> Option<Bytes> {
        while !self.over {
            match self.look().await {
                Ok(words) if !words.is_empty() => return Some(self.speak(words)),
                Ok(_) => {}
                Err(error) if error.is_transient() => sleep(AFTER_ERROR).await,
                Err(error) => {
                    debug!(self.api.log, "a follower was left"; "execution" => %self.id, "error" => %error);
                    return None;
                }
            }
            match self.wait().await {
                Woken::Look => {}
                Woken::KeepAlive => return Some(self.speak(": keep-alive\n\n".to_owned())),
                Woken::Closing => return None,
            }
        }
        None
    }

    fn speak(&mut self, words: String) -> Bytes {
        self.spoke = Instant::now();
        words.into()
    }

    async fn wait(&mut self) -> Woken {
        if self.said_so.elapsed() > crate::store::Store::FOLLOW_RENEWAL {
            self.said_so = Instant::now();
            self.api.store.renew_follow(&self.id);
        }
        let place = self.told.as_ref().and_then(|told| told.queue_position);
        let longest = if place.is_some_and(|place| place <= NEAR) { QUEUE_LOOK } else { LAST_LOOK };
        tokio::select! {
            () = self.watch.changed() => self.look_after = FIRST_LOOK,
            () = sleep(self.look_after) => self.look_after = (self.look_after * 2).clamp(FIRST_LOOK, longest),
            () = sleep_until(self.spoke + KEEP_ALIVE) => return Woken::KeepAlive,
            () = self.seat.closing() => return Woken::Closing,
        }
        Woken::Look
    }

    /// What is new since the last look.
    async fn look(&mut self) -> Result<String, StoreError> {
        let standing = self.api.store.progress(&self.id).await?;
        let (status, mut words) = (standing.status, String::new());
        if self.told.as_ref() != Some(&standing) {
            self.turn_to(standing, &mut words);
        }
        match status {
            Status::Queued => {}
            Status::Running => self.tell_chunks(&mut words).await?,
            _ => self.tell_the_rest(&mut words).await?,
        }
        Ok(words)
    }

    fn turn_to(&mut self, standing: Progress, words: &mut String) {
        let begins = standing.attempt > self.position.attempt && standing.status != Status::Queued;
        let restarted = begins && self.position.attempt > 0;
        if begins {
            self.position = StreamOffsets::start_of(standing.attempt);
            self.read = self.position;
            self.chunk = 0;
        }
        if self.told.is_none() {
            words.push_str("retry: 1000\n");
        }
        let status = StatusEvent {
            status: standing.status,
            attempt: standing.attempt.unsigned_abs(),
            phase: standing.phase,
            queue_position: standing.queue_position,
            waits_for: standing.waits_for.clone(),
            restarted,
        };
        self.told = Some(standing);
        write(words, &self.position, "status", &status);
    }

    async fn tell_chunks(&mut self, words: &mut String) -> Result<(), StoreError> {
        let chunks = self.api.store.next_chunks(&self.id, self.position.attempt, self.chunk).await?;
        let more = !chunks.is_empty();
        for chunk in chunks {
            self.tell_chunk(chunk, words);
        }
        // A page of what the client has already: the next one at once.
        if more && words.is_empty() {
            self.look_after = Duration::ZERO;
        }
        Ok(())
    }

    fn tell_chunk(&mut self, Chunk { seq, stream, text }: Chunk, words: &mut String) {
        self.chunk = seq;
        let begin = self.read.of(stream);
        let end = begin + text.len() as u64;
        self.read.set(stream, end);
        let known = usize::try_from(self.position.of(stream).saturating_sub(begin)).unwrap_or(usize::MAX);
        let Some(new) = text.get(known.min(text.len())..).filter(|new| !new.is_empty()) else { return };
        self.position.set(stream, end);
        write(words, &self.position, "output", &OutputEvent { stream, text: new.to_owned(), cut: None });
    }

    async fn tell_the_rest(&mut self, words: &mut String) -> Result<(), StoreError> {
        match self.rest.next(&self.api.store, &mut self.position).await? {
            Some(output) => write(words, &self.position, "output", &output),
            None => {
                let mut execution = self.api.store.execution_without_output(&self.id).await?;
                execution.next_try = limit_suggestion::of(&execution, &self.api.settings);
                self.position.ended = true;
                self.over = true;
                write(words, &self.position, "end", &execution);
            }
        }
        Ok(())
    }
}

/// JSON has no line breaks of its own, so one `data` line is enough.
fn write(words: &mut String, id: &StreamOffsets, event: &str, data: &impl Serialize) {
    // These types always serialise.
    let data = serde_json::to_string(data).unwrap_or_default();
    words.push_str(&format!("id: {id}\nevent: {event}\ndata: {data}\n\n"));
}
