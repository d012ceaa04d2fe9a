//! The events that the daemon has not stored yet.

use std::collections::VecDeque;

use rgrid_init::{Event, MAX_SMALL_EVENTS, MAX_TEXT, Stream, char_floor};

/// Events are numbered from 1 without gaps. An event never changes after it was sent.
pub struct Journal {
    events: VecDeque<Event>,
    /// Number of the first event in `events`.
    first: u64,
    /// Number of the next event to send.
    next: u64,
    /// The highest number sent so far, on any connection.
    last_sent: u64,
}

impl Journal {
    pub fn new() -> Self {
        Self { events: VecDeque::new(), first: 1, next: 1, last_sent: 0 }
    }

    pub fn append(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Appends text to an unsent event, as far as it fits, and the rest as new events.
    pub fn append_text(&mut self, stream: Stream, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let room = self.open_text(stream).map_or(0, |open| MAX_TEXT - open.len());
            let (fitting, remaining) = rest.split_at(char_floor(rest, room));
            if fitting.is_empty() {
                self.append(Event::Output { stream, text: String::new() });
            } else if let Some(open) = self.open_text(stream) {
                open.push_str(fitting);
                rest = remaining;
            }
        }
    }

    /// The next event to send with its number, if one should be sent now.
    pub fn take_next(&mut self) -> Option<(u64, Event)> {
        let index = usize::try_from(self.next - self.first).ok()?;
        let event = self.events.get(index)?;
        // A character has at most four bytes, so with less room than that the event is full.
        let may_grow = matches!(event, Event::Output { text, .. } if text.len() + 4 <= MAX_TEXT);
        let is_output = |event: &Event| matches!(event, Event::Output { .. });
        if self.batches_output() && may_grow && self.events.range(index..).all(is_output) {
            return None;
        }
        let (number, event) = (self.next, event.clone());
        self.next += 1;
        self.last_sent = self.last_sent.max(number);
        Some((number, event))
    }

    /// Removes the events up to this number, which the daemon has stored.
    pub fn remove_stored(&mut self, upto: u64) {
        while self.first <= upto && self.events.pop_front().is_some() {
            self.first += 1;
        }
        self.next = self.next.max(self.first);
    }

    /// Sends everything again, for a new connection.
    pub fn rewind(&mut self) {
        self.next = self.first;
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    fn batches_output(&self) -> bool {
        self.events.len() > MAX_SMALL_EVENTS
    }

    /// The unsent event that more text of `stream` can be appended to: the last one or, when output is batched, an
    /// earlier one. The order between stdout and stderr may then change, but never the order within each.
    fn open_text(&mut self, stream: Stream) -> Option<&mut String> {
        let lookback = if self.batches_output() { usize::MAX } else { 1 };
        let sent = usize::try_from((self.last_sent + 1).saturating_sub(self.first)).ok()?;
        let unsent = self.events.range_mut(sent.min(self.events.len())..).rev();
        let mut outputs = unsent.take(lookback).map_while(|event| match event {
            Event::Output { stream, text } => Some((*stream, text)),
            _ => None,
        });
        outputs.find(|(other, _)| *other == stream).map(|(_, text)| text)
    }
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
    fn text_is_appended_to_unsent_events_but_never_to_sent_ones() {
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
    fn stored_events_are_removed_and_the_rest_is_sent_again() {
        let mut journal = Journal::new();
        for _ in 0..3 {
            journal.append(Event::Started { step: JobStep::Script });
        }
        assert_eq!(drain(&mut journal).len(), 3);
        journal.remove_stored(2);
        journal.rewind();
        assert_eq!(drain(&mut journal).iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [3]);
        journal.remove_stored(99);
        assert!(journal.is_empty());
        journal.append(Event::Started { step: JobStep::Script });
        assert_eq!(journal.take_next().map(|(seq, _)| seq), Some(4));
    }

    #[test]
    fn unacknowledged_single_bytes_do_not_become_many_events() {
        let mut journal = Journal::new();
        let mut sent = Vec::new();
        for _ in 0..200_000 {
            journal.append_text(Stream::Stdout, "o");
            journal.append_text(Stream::Stderr, "e");
            sent.extend(drain(&mut journal));
        }
        assert!(journal.events.len() < MAX_SMALL_EVENTS + 20, "{}", journal.events.len());
        journal.append(Event::Started { step: JobStep::Script });
        sent.extend(drain(&mut journal));
        assert_eq!(text(&sent, Stream::Stdout), "o".repeat(200_000));
        assert_eq!(text(&sent, Stream::Stderr), "e".repeat(200_000));
        assert!(sent.iter().zip(1..).all(|((seq, _), expected)| *seq == expected));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn text_is_sent_unchanged(parts in proptest::collection::vec("[a€😀]{0,9}", 0..20), sends: u32) {
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
