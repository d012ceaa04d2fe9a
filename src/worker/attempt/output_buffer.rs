//! What one attempt has said so far, in memory: the head of each stream, and what is not stored yet.
//!
//! Bounded by the init, which sends no more than the output limit of each stream while the run lasts.
//!
//! An attempt may have two sandboxes, one that installs and one that runs the script, and both count their
//! events from 1. So that a chunk's number is never used twice in an attempt, each adds a number of its own.

use rgrid_init::{Exit, StreamEnd, assemble};

use crate::execution::Stream;
use crate::execution::{Cut, StoredText};
use crate::store::Chunk;

/// Added to the numbers of the events of an install. Before them there is room for words of the worker's own.
const OF_INSTALL: u64 = 16;
/// Added to those of the script; there can't be as many events of an install.
const OF_SCRIPT: u64 = 1 << 32;

/// Whose events come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Install,
    Script,
}

impl Phase {
    fn base(self) -> u64 {
        match self {
            Phase::Install => OF_INSTALL,
            Phase::Script => OF_SCRIPT,
        }
    }
}

pub(crate) struct OutputBuffer {
    phase: Phase,
    stdout: String,
    stderr: String,
    install: String,
    /// Said, but not stored.
    pending: Vec<Chunk>,
    /// The install's text as it is kept, once the install has ended.
    installed: Option<StoredText>,
    /// Bytes of the install's text that are the worker's own words, which no init counts.
    noted: u64,
    /// Number of the last chunk or event that came in, stored or not.
    last: u64,
}

impl OutputBuffer {
    pub fn new() -> Self {
        Self {
            phase: Phase::Install,
            stdout: String::new(),
            stderr: String::new(),
            install: String::new(),
            pending: Vec::new(),
            installed: None,
            noted: 0,
            last: 0,
        }
    }

    /// Goes on behind what an earlier daemon has stored.
    pub fn resumed(chunks: Vec<Chunk>, phase: Phase) -> Self {
        let mut transcript = Self { phase, ..Self::new() };
        for chunk in chunks {
            transcript.last = transcript.last.max(chunk.seq);
            if chunk.seq <= OF_INSTALL {
                transcript.noted += chunk.text.len() as u64;
            }
            transcript.head(chunk.stream).push_str(&chunk.text);
        }
        transcript
    }

    /// From now on the events are those of another sandbox.
    pub fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Words of the worker's own, in the install's stream, before there is an install.
    pub fn note(&mut self, text: &str) {
        self.last += 1;
        self.noted += text.len() as u64;
        self.install.push_str(text);
        self.pending.push(Chunk { seq: self.last, stream: Stream::Install, text: text.to_owned() });
    }

    /// Takes an event's text; one that is known already (replayed by the init) changes nothing.
    pub fn take(&mut self, seq: u64, stream: Stream, text: String) {
        let seq = self.phase.base() + seq;
        if seq <= self.last {
            return;
        }
        self.last = seq;
        self.head(stream).push_str(&text);
        self.pending.push(Chunk { seq, stream, text });
    }

    /// An event without text.
    pub fn pass(&mut self, seq: u64) {
        self.last = self.last.max(self.phase.base() + seq);
    }

    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// What is to be stored now, and the number up to which the init may forget then.
    pub fn take_pending(&mut self) -> (Vec<Chunk>, u64) {
        (std::mem::take(&mut self.pending), self.last.saturating_sub(self.phase.base()))
    }

    /// The install has ended in good order.
    pub fn end_install(&mut self, exit: &Exit, limit: u64) {
        let end = StreamEnd { total: exit.install.total + self.noted, ..exit.install.clone() };
        self.installed = Some(text(&self.install, &end, limit));
    }

    /// The streams as they are kept when the run ended in good order.
    pub fn ended(&self, exit: &Exit, limit: u64) -> Streams {
        Streams {
            stdout: text(&self.stdout, &exit.stdout, limit),
            stderr: text(&self.stderr, &exit.stderr, limit),
            install: self.install(),
        }
    }

    /// The streams of a run that was cut off: what is known of them.
    pub fn cut_off(&self) -> Streams {
        Streams { stdout: known(&self.stdout), stderr: known(&self.stderr), install: self.install() }
    }

    /// What the install said, or has said so far.
    pub fn install(&self) -> StoredText {
        self.installed.clone().unwrap_or_else(|| known(&self.install))
    }

    fn head(&mut self, stream: Stream) -> &mut String {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
            Stream::Install => &mut self.install,
        }
    }
}

pub(crate) struct Streams {
    pub stdout: StoredText,
    pub stderr: StoredText,
    pub install: StoredText,
}

/// A text that is whole as far as anybody knows.
fn known(text: &str) -> StoredText {
    StoredText { text: text.to_owned(), total: text.len() as u64, truncated: false, cut: None }
}

fn text(head: &str, end: &StreamEnd, limit: u64) -> StoredText {
    let (text, truncated) = assemble(head, end, limit);
    let cut = truncated.then(|| cut(&text, head, end, limit));
    StoredText { text, total: end.total, truncated, cut }
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
        let stored = vec![Chunk { seq: OF_SCRIPT + 2, stream: Stream::Stdout, text: "a".into() }];
        let mut transcript = OutputBuffer::resumed(stored, Phase::Script);
        transcript.take(2, Stream::Stdout, "a".into());
        transcript.take(3, Stream::Stdout, "b".into());
        let (pending, upto) = transcript.take_pending();
        assert_eq!((pending.len(), upto), (1, 3));
        assert_eq!(transcript.cut_off().stdout.text, "ab");
    }

    #[test]
    fn no_number_is_used_twice_by_two_sandboxes() {
        let mut transcript = OutputBuffer::new();
        transcript.note("waiting\n");
        transcript.take(1, Stream::Install, "pip\n".into());
        transcript.enter(Phase::Script);
        transcript.take(1, Stream::Stdout, "out\n".into());
        let (pending, upto) = transcript.take_pending();
        let numbers: Vec<u64> = pending.iter().map(|chunk| chunk.seq).collect();
        assert_eq!((numbers, upto), (vec![1, OF_INSTALL + 1, OF_SCRIPT + 1], 1));
        assert_eq!(transcript.cut_off().install.text, "waiting\npip\n");
    }

    #[test]
    fn a_script_whose_first_chunk_is_not_stored_yet_is_told_whole() {
        let stored = vec![Chunk { seq: OF_INSTALL + 70, stream: Stream::Install, text: "pip\n".into() }];
        let mut transcript = OutputBuffer::resumed(stored, Phase::Script);
        transcript.take(2, Stream::Stdout, "a".into());
        assert_eq!(transcript.cut_off().stdout.text, "a");
    }
}
