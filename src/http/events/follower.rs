//! One connection that follows an execution.
//!
//! A follower pulls: it reads the next page from the store only when the client has taken the previous one. A slow reader
//! therefore holds one page of memory, and following an execution of another process is no special case.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix_web::web::Bytes;
use rgrid_api::units::format_size;
use rgrid_api::{OutputEvent, Status, StatusEvent, Stream};
use serde::Serialize;
use slog::debug;
use tokio::time::{Instant, sleep, sleep_until};

use crate::execution::{Caller, ExecutionId, StreamOffsets};
use crate::http::events::FollowerPermit;
use crate::http::{Api, executions::suggest_limit};
use crate::store::{Chunk, Progress, Store, StoreError, StreamCut, Subscription};

/// Notifications may get lost, so a follower also polls, with increasing intervals.
const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(5);
/// Changes of the queue position have no notification. Followers far back in the queue poll less often.
const QUEUE_POLL_MAX: Duration = Duration::from_secs(1);
const QUEUE_FRONT: u64 = 100;
/// Lets proxies and clients distinguish silence from a dead connection. The key is checked as often.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of text per event when an execution has ended.
const EVENT_MAX: u64 = 64 * 1024;
/// The line that marks a cut is shorter than this.
const MARKER_MAX: u64 = 100;

/// An event, and the offset of its end.
type Piece = Option<(OutputEvent, u64)>;

pub(crate) struct Follower {
    api: Arc<Api>,
    caller: Caller,
    id: ExecutionId,
    /// The end of what the client has received.
    sent: StreamOffsets,
    /// The end of the chunks that were read; before `sent` until a reconnected client's position is found.
    read: StreamOffsets,
    chunk: u64,
    reported: Option<Progress>,
    /// Of the streams of an execution that has ended, once they are needed.
    cuts: Option<BTreeMap<Stream, StreamCut>>,
    subscription: Subscription,
    poll_after: Duration,
    last_sent: Instant,
    last_renewed: Instant,
    /// When the caller's key was valid.
    last_checked: Instant,
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
        caller: Caller,
        id: ExecutionId,
        sent: StreamOffsets,
        subscription: Subscription,
        permit: FollowerPermit,
    ) -> Self {
        Self {
            api,
            caller,
            id,
            sent,
            read: StreamOffsets::start_of(sent.attempt),
            chunk: 0,
            reported: None,
            cuts: None,
            subscription,
            poll_after: POLL_MIN,
            last_sent: Instant::now(),
            last_renewed: Instant::now(),
            last_checked: Instant::now(),
            permit,
            ended: false,
        }
    }

    /// The next events for the client; `None` when there will be no more.
    pub async fn next(&mut self) -> Option<Bytes> {
        while !self.ended {
            match self.poll().await {
                // The client learns the reason when it reconnects.
                Ok(None) => return None,
                Ok(Some(events)) if !events.is_empty() => return Some(self.send(events)),
                Ok(Some(_)) => {}
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
            () = sleep_until(self.last_checked + KEEP_ALIVE) => {}
            () = self.permit.closed() => return Wakeup::Closed,
        }
        Wakeup::Poll
    }

    /// The events since the previous poll; `None` if the caller's key is not valid any more.
    async fn poll(&mut self) -> Result<Option<String>, StoreError> {
        if self.key_is_valid().await? { self.new_events().await.map(Some) } else { Ok(None) }
    }

    async fn key_is_valid(&mut self) -> Result<bool, StoreError> {
        if self.last_checked.elapsed() < KEEP_ALIVE {
            return Ok(true);
        }
        if let Some(key) = self.caller.key()
            && !self.api.store.is_key_still_valid(key).await?
        {
            return Ok(false);
        }
        self.last_checked = Instant::now();
        Ok(true)
    }

    async fn new_events(&mut self) -> Result<String, StoreError> {
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
            attempt: progress.counted,
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
        match self.next_of_tail().await? {
            Some(output) => write_event(events, &self.sent, "output", &output),
            None => {
                let mut execution = self.api.store.execution_without_output(&self.id).await?;
                execution.next_try = suggest_limit(&execution, &self.api.settings);
                self.sent.ended = true;
                self.ended = true;
                write_event(events, &self.sent, "end", &execution);
            }
        }
        Ok(())
    }

    /// The output that the client still lacks when the execution has ended. It is stored in the execution's row and may be
    /// cut. `None` when the client has everything.
    async fn next_of_tail(&mut self) -> Result<Option<OutputEvent>, StoreError> {
        let cuts = match self.cuts.take() {
            Some(cuts) => cuts,
            None => self.api.store.output_cuts(&self.id).await?,
        };
        let mut next = None;
        for stream in [Stream::Install, Stream::Stdout, Stream::Stderr] {
            let from = self.sent.of(stream);
            let piece = match cuts.get(&stream) {
                None => self.stored(stream, from, EVENT_MAX).await?,
                Some(cut) => self.around_cut(stream, from, cut).await?,
            };
            if let Some((output, end)) = piece {
                self.sent.set(stream, end);
                next = Some(output);
                break;
            }
        }
        self.cuts = Some(cuts);
        Ok(next)
    }

    async fn stored(&self, stream: Stream, from: u64, max: u64) -> Result<Piece, StoreError> {
        let text = self.api.store.stored_text(&self.id, stream, from, max).await?;
        let end = from + text.len() as u64;
        Ok((!text.is_empty()).then_some((OutputEvent { stream, text, cut: None }, end)))
    }

    /// The beginning, the cut and the end. A client that followed live may have received part of what was cut.
    async fn around_cut(&self, stream: Stream, from: u64, cut: &StreamCut) -> Result<Piece, StoreError> {
        let cut_end = cut.total.saturating_sub(cut.tail);
        if from < cut.head {
            return self.stored(stream, from, EVENT_MAX.min(cut.head - from)).await;
        }
        let marker = marker(&self.api.store.stored_text(&self.id, stream, cut.head, MARKER_MAX).await?);
        if from < cut_end {
            let missing = cut_end - from;
            let text = if from == cut.head { marker } else { marker_for(missing) };
            return Ok(Some((OutputEvent { stream, text, cut: Some(missing) }, cut_end)));
        }
        // In the stored text, the end follows the marker.
        let shift = cut.head + marker.len() as u64;
        let piece = self.stored(stream, shift + (from - cut_end), EVENT_MAX).await?;
        Ok(piece.map(|(output, end)| (output, end - shift + cut_end)))
    }
}

/// JSON contains no line breaks, so one `data` line is enough.
fn write_event(events: &mut String, id: &StreamOffsets, event: &str, data: &impl Serialize) {
    // Serializing these types cannot fail.
    let data = serde_json::to_string(data).unwrap_or_default();
    events.push_str(&format!("id: {id}\nevent: {event}\ndata: {data}\n\n"));
}

/// The marker at the beginning of `text`.
fn marker(text: &str) -> String {
    const END: &str = " …]\n";
    let length = text.find(END).map_or(0, |at| at + END.len());
    text.get(..length).unwrap_or_default().to_owned()
}

fn marker_for(missing: u64) -> String {
    format!("\n[… {} cut by RGrid …]\n", format_size(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_ends_before_the_rest_of_the_text() {
        assert_eq!(marker("\n[… 3 KiB cut by RGrid …]\nlast …]\n"), "\n[… 3 KiB cut by RGrid …]\n");
        assert_eq!(marker(&marker_for(7)), "\n[… 7 B cut by RGrid …]\n");
    }
}
