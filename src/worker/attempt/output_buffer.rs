//! The output of one attempt in memory: the beginning of each stream, and the chunks that are not stored yet.
//!
//! The buffer is bounded, because the init sends no more than the output limit of each stream.
//!
//! An attempt may use two sandboxes, one that installs and one that runs the script, and both number their events from
//! 1. Each source adds a base to its numbers, so that no chunk number occurs twice in an attempt.

use rgrid_init::{StreamEnd, assemble};

use crate::execution::{Cut, StoredText, Stream};
use crate::store::Chunk;

/// Lower numbers are for the worker's own notes.
const INSTALL_BASE: u64 = 16;
/// An install cannot have as many events.
const SCRIPT_BASE: u64 = 1 << 32;

/// The job that sends the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Source {
    #[default]
    Install,
    Script,
}

impl Source {
    fn base(self) -> u64 {
        match self {
            Source::Install => INSTALL_BASE,
            Source::Script => SCRIPT_BASE,
        }
    }
}

#[derive(Default)]
pub(super) struct OutputBuffer {
    source: Source,
    stdout: String,
    stderr: String,
    install: String,
    unstored: Vec<Chunk>,
    /// The install's text as it is recorded, after the install has ended.
    finished_install: Option<StoredText>,
    /// Bytes of the worker's own notes, which no init counts.
    note_bytes: u64,
    /// Number of the last chunk or event.
    last: u64,
}

impl OutputBuffer {
    /// Continues after the chunks that an earlier daemon stored.
    pub fn resumed(chunks: Vec<Chunk>, source: Source) -> Self {
        let mut output = Self { source, ..Self::default() };
        for chunk in chunks {
            output.last = output.last.max(chunk.seq);
            if chunk.seq <= INSTALL_BASE {
                output.note_bytes += chunk.text.len() as u64;
            }
            output.stream(chunk.stream).push_str(&chunk.text);
        }
        output
    }

    pub fn switch_to(&mut self, source: Source) {
        self.source = source;
    }

    pub fn source(&self) -> Source {
        self.source
    }

    /// Adds a note of the worker to the install's stream, before an install.
    pub fn add_note(&mut self, text: &str) {
        self.last += 1;
        self.note_bytes += text.len() as u64;
        self.install.push_str(text);
        self.unstored.push(Chunk { seq: self.last, stream: Stream::Install, text: text.to_owned() });
    }

    /// Ignores an event that the init replays.
    pub fn add_event(&mut self, seq: u64, stream: Stream, text: String) {
        let seq = self.source.base() + seq;
        if seq <= self.last {
            return;
        }
        self.last = seq;
        self.stream(stream).push_str(&text);
        self.unstored.push(Chunk { seq, stream, text });
    }

    /// For an event without text.
    pub fn skip_event(&mut self, seq: u64) {
        self.last = self.last.max(self.source.base() + seq);
    }

    /// The chunks to store, and the event up to which the init may forget its events after that.
    pub fn take_unstored(&mut self) -> Option<(Vec<Chunk>, u64)> {
        let chunks = std::mem::take(&mut self.unstored);
        (!chunks.is_empty()).then(|| (chunks, self.last.saturating_sub(self.source.base())))
    }

    pub fn finish_install(&mut self, exit: &rgrid_init::Exit, limit: u64) {
        let end = StreamEnd { total: exit.install.total + self.note_bytes, ..exit.install.clone() };
        self.finished_install = Some(whole_text(&self.install, &end, limit));
    }

    /// The streams of a job whose exit was reported.
    pub fn finished(&self, exit: &rgrid_init::Exit, limit: u64) -> Streams {
        Streams {
            stdout: whole_text(&self.stdout, &exit.stdout, limit),
            stderr: whole_text(&self.stderr, &exit.stderr, limit),
            install: self.install(),
        }
    }

    /// The streams of a job whose end was not reported.
    pub fn partial(&self) -> Streams {
        let (stdout, stderr) = (partial_text(&self.stdout), partial_text(&self.stderr));
        Streams { stdout, stderr, install: self.install() }
    }

    pub fn install(&self) -> StoredText {
        self.finished_install.clone().unwrap_or_else(|| partial_text(&self.install))
    }

    fn stream(&mut self, stream: Stream) -> &mut String {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
            Stream::Install => &mut self.install,
        }
    }
}

pub(super) struct Streams {
    pub stdout: StoredText,
    pub stderr: StoredText,
    pub install: StoredText,
}

fn partial_text(text: &str) -> StoredText {
    StoredText { text: text.to_owned(), total: text.len() as u64, truncated: false, cut: None }
}

fn whole_text(head: &str, end: &StreamEnd, limit: u64) -> StoredText {
    let (text, truncated) = assemble(head, end, limit);
    let cut = truncated.then(|| {
        // The same place at which `assemble` cuts.
        let half = usize::try_from(limit / 2).unwrap_or(usize::MAX);
        let first = rgrid_init::char_floor(head, half);
        debug_assert!(text.get(..first) == head.get(..first) && text.ends_with(&end.tail));
        Cut { head: first as u64, tail: end.tail.len() as u64 }
    });
    StoredText { text, total: end.total, truncated, cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replayed_event_is_ignored() {
        let stored = vec![Chunk { seq: SCRIPT_BASE + 2, stream: Stream::Stdout, text: "a".into() }];
        let mut output = OutputBuffer::resumed(stored, Source::Script);
        output.add_event(2, Stream::Stdout, "a".into());
        output.add_event(3, Stream::Stdout, "b".into());
        let (chunks, upto) = output.take_unstored().unwrap();
        assert_eq!((chunks.len(), upto), (1, 3));
        assert_eq!(output.partial().stdout.text, "ab");
    }

    #[test]
    fn two_sandboxes_never_use_the_same_number() {
        let mut output = OutputBuffer::default();
        output.add_note("waiting\n");
        output.add_event(1, Stream::Install, "pip\n".into());
        output.switch_to(Source::Script);
        output.add_event(1, Stream::Stdout, "out\n".into());
        let (chunks, upto) = output.take_unstored().unwrap();
        let numbers: Vec<u64> = chunks.iter().map(|chunk| chunk.seq).collect();
        assert_eq!((numbers, upto), (vec![1, INSTALL_BASE + 1, SCRIPT_BASE + 1], 1));
        assert_eq!(output.partial().install.text, "waiting\npip\n");
    }

    #[test]
    fn output_after_a_stored_install_is_complete() {
        let stored = vec![Chunk { seq: INSTALL_BASE + 70, stream: Stream::Install, text: "pip\n".into() }];
        let mut output = OutputBuffer::resumed(stored, Source::Script);
        output.add_event(2, Stream::Stdout, "a".into());
        assert_eq!(output.partial().stdout.text, "a");
    }
}
