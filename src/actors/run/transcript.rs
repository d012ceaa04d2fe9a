//! What one attempt has said so far, in memory: the head of each stream, and what is not stored yet.
//!
//! Bounded by the init, which sends no more than the output limit of each stream while the run lasts.

use rgrid_init::{Exit, StreamEnd, assemble};

use crate::execution::Stream;
use crate::execution::{Cut, RunText};
use crate::store::Chunk;

#[derive(Default)]
pub(super) struct Transcript {
    stdout: String,
    stderr: String,
    install: String,
    /// Said, but not stored.
    pending: Vec<Chunk>,
    /// Number of the last event that came in, stored or not.
    last: u64,
}

impl Transcript {
    /// Goes on behind what an earlier daemon has stored.
    pub fn resumed(chunks: Vec<Chunk>) -> Self {
        let mut transcript = Self::default();
        for chunk in chunks {
            transcript.last = transcript.last.max(chunk.seq);
            transcript.head(chunk.stream).push_str(&chunk.text);
        }
        transcript
    }

    /// Takes an event's text; one that is known already (replayed by the init) changes nothing.
    pub fn take(&mut self, seq: u64, stream: Stream, text: String) {
        if seq <= self.last {
            return;
        }
        self.last = seq;
        self.head(stream).push_str(&text);
        self.pending.push(Chunk { seq, stream, text });
    }

    /// An event without text.
    pub fn pass(&mut self, seq: u64) {
        self.last = self.last.max(seq);
    }

    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// What is to be stored now, and the number up to which the init may forget then.
    pub fn take_pending(&mut self) -> (Vec<Chunk>, u64) {
        (std::mem::take(&mut self.pending), self.last)
    }

    /// The streams as they are kept when the run ended in good order.
    pub fn ended(&self, exit: &Exit, limit: u64) -> Streams {
        Streams {
            stdout: text(&self.stdout, &exit.stdout, limit),
            stderr: text(&self.stderr, &exit.stderr, limit),
            install: text(&self.install, &exit.install, limit),
        }
    }

    /// The streams of a run that was cut off: what is known of them.
    pub fn cut_off(&self) -> Streams {
        let known = |text: &String| RunText {
            text: text.clone(),
            total: text.len() as u64,
            truncated: false,
            cut: None,
        };
        Streams { stdout: known(&self.stdout), stderr: known(&self.stderr), install: known(&self.install) }
    }

    pub fn install_text(&self) -> &str {
        &self.install
    }

    fn head(&mut self, stream: Stream) -> &mut String {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
            Stream::Install => &mut self.install,
        }
    }
}

pub(super) struct Streams {
    pub stdout: RunText,
    pub stderr: RunText,
    pub install: RunText,
}

fn text(head: &str, end: &StreamEnd, limit: u64) -> RunText {
    let (text, truncated) = assemble(head, end, limit);
    let cut = truncated.then(|| cut(&text, head, end, limit));
    RunText { text, total: end.total, truncated, cut }
}

/// As [`assemble`] cuts.
fn cut(text: &str, head: &str, end: &StreamEnd, limit: u64) -> Cut {
    let half = usize::try_from(limit / 2).unwrap_or(usize::MAX);
    let first = rgrid_init::char_floor(head, half);
    debug_assert!(text.get(..first) == head.get(..first) && text.ends_with(&end.tail));
    Cut { head: first as u64, tail: end.tail.len() as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replayed_event_is_not_doubled() {
        let mut transcript =
            Transcript::resumed(vec![Chunk { seq: 2, stream: Stream::Stdout, text: "a".into() }]);
        transcript.take(2, Stream::Stdout, "a".into());
        transcript.take(3, Stream::Stdout, "b".into());
        let (pending, upto) = transcript.take_pending();
        assert_eq!((pending.len(), upto), (1, 3));
        assert_eq!(transcript.cut_off().stdout.text, "ab");
    }
}
