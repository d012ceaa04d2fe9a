//! The events that the daemon has not stored yet.

use std::collections::VecDeque;

use rgrid_init::{Event, MAX_TEXT, Stream, char_floor};

/// Beyond this many events small output is no longer sent as it comes but in pieces of [`MAX_TEXT`]. With it the
/// number of events is bounded as their text is, even for a script that writes single bytes
/// while the daemon stores nothing.
const CROWDED: usize = 1024;

/// Numbered from 1, without gaps. An event that was sent once never changes.
pub struct Journal {
    kept: VecDeque<Event>,
    /// Number of the first kept event.
    first: u64,
    /// Number of the event to send next.
    next: u64,
    /// The highest number that was ever sent.
    sealed: u64,
}

impl Journal {
    pub fn new() -> Self {
        Self { kept: VecDeque::new(), first: 1, next: 1, sealed: 0 }
    }

    pub fn append(&mut self, event: Event) {
        self.kept.push_back(event);
    }

    /// Text joins an event that was not sent yet; else it becomes a new one.
    pub fn append_text(&mut self, stream: Stream, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let room = self.open_text(stream).map_or(0, |open| MAX_TEXT - open.len());
            let joined = rest.get(..char_floor(rest, room)).unwrap_or_default();
            if joined.is_empty() {
                self.append(Event::Output { stream, text: String::new() });
                continue;
            }
            if let Some(open) = self.open_text(stream) {
                open.push_str(joined);
            }
            rest = rest.get(joined.len()..).unwrap_or_default();
        }
    }

    /// The next event to send and its number, if one should be sent now.
    pub fn take_next(&mut self) -> Option<(u64, Event)> {
        let index = usize::try_from(self.next - self.first).ok()?;
        let event = self.kept.get(index)?;
        if self.is_crowded() && may_grow(event) && self.kept.range(index..).all(is_output) {
            return None;
        }
        let (seq, event) = (self.next, event.clone());
        self.next += 1;
        self.sealed = self.sealed.max(seq);
        Some((seq, event))
    }

    /// Forgets what is stored.
    pub fn forget(&mut self, upto: u64) {
        while self.first <= upto && self.kept.pop_front().is_some() {
            self.first += 1;
        }
        self.next = self.next.max(self.first);
    }

    /// A new connection: everything kept is sent again.
    pub fn rewind(&mut self) {
        self.next = self.first;
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn is_crowded(&self) -> bool {
        self.kept.len() > CROWDED
    }

    /// The text that more of `stream` may join. In a crowd that may be one before the last event: then the
    /// order between stdout and stderr gives way, the order within each never.
    fn open_text(&mut self, stream: Stream) -> Option<&mut String> {
        let reach = if self.is_crowded() { usize::MAX } else { 1 };
        let sent = usize::try_from((self.sealed + 1).saturating_sub(self.first)).ok()?;
        let unsent = self.kept.range_mut(sent.min(self.kept.len())..);
        unsent.rev().take(reach).map_while(as_output).find(|(of, _)| *of == stream).map(|(_, text)| text)
    }
}

fn as_output(event: &mut Event) -> Option<(Stream, &mut String)> {
    match event {
        Event::Output { stream, text } => Some((*stream, text)),
        _ => None,
    }
}

fn is_output(event: &Event) -> bool {
    matches!(event, Event::Output { .. })
}

/// A character has four bytes at most: with less room than that the event is full.
fn may_grow(event: &Event) -> bool {
    matches!(event, Event::Output { text, .. } if text.len() + 4 <= MAX_TEXT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rgrid_init::JobStep;

    use super::*;

    fn drain(journal: &mut Journal) -> Vec<(u64, Event)> {
        std::iter::from_fn(|| journal.take_next()).collect()
    }

    fn text(events: &[(u64, Event)], wanted: Stream) -> String {
        events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::Output { stream, text } if *stream == wanted => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn text_joins_what_was_not_sent_and_never_what_was() {
        let mut journal = Journal::new();
        journal.append_text(Stream::Stdout, "a");
        journal.append_text(Stream::Stdout, "b");
        let first = journal.take_next();
        assert_eq!(first, Some((1, Event::Output { stream: Stream::Stdout, text: "ab".into() })));
        journal.rewind();
        journal.append_text(Stream::Stdout, "c");
        assert_eq!(journal.take_next(), first);
        assert_eq!(text(&drain(&mut journal), Stream::Stdout), "c");
    }

    #[test]
    fn what_is_stored_is_forgotten_and_the_rest_is_sent_again() {
        let mut journal = Journal::new();
        for _ in 0..3 {
            journal.append(Event::Started { step: JobStep::Script });
        }
        assert_eq!(drain(&mut journal).len(), 3);
        journal.forget(2);
        journal.rewind();
        assert_eq!(drain(&mut journal).iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [3]);
        journal.forget(99);
        assert!(journal.is_empty());
        journal.append(Event::Started { step: JobStep::Script });
        assert_eq!(journal.take_next().map(|(seq, _)| seq), Some(4));
    }

    #[test]
    fn single_bytes_that_nobody_stores_stay_few_events() {
        let mut journal = Journal::new();
        let mut sent = Vec::new();
        for _ in 0..200_000 {
            journal.append_text(Stream::Stdout, "o");
            journal.append_text(Stream::Stderr, "e");
            sent.extend(drain(&mut journal));
        }
        assert!(journal.kept.len() < CROWDED + 20, "{}", journal.kept.len());
        journal.append(Event::Started { step: JobStep::Script });
        sent.extend(drain(&mut journal));
        assert_eq!(text(&sent, Stream::Stdout), "o".repeat(200_000));
        assert_eq!(text(&sent, Stream::Stderr), "e".repeat(200_000));
        assert!(sent.iter().zip(1..).all(|((seq, _), expected)| *seq == expected));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn text_comes_out_as_it_went_in(parts in proptest::collection::vec("[a€😀]{0,9}", 0..20), sends: u32) {
            let mut journal = Journal::new();
            let mut sent = Vec::new();
            for (index, part) in parts.iter().enumerate() {
                journal.append_text(Stream::Stdout, &part.repeat(5_000));
                journal.append_text(Stream::Stdout, part);
                if sends >> index & 1 == 1 {
                    sent.extend(drain(&mut journal));
                }
            }
            sent.extend(drain(&mut journal));
            let whole: String = parts.iter().map(|part| part.repeat(5_001)).collect();
            prop_assert_eq!(text(&sent, Stream::Stdout), whole);
        }
    }
}
