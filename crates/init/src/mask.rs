//! Replaces secrets in the output of a script with `***`, wherever the output is split into chunks.
//!
//! An Aho-Corasick automaton reads each byte once, regardless of the number of secrets. Text that may be the start of a
//! secret is held back until the following bytes decide. All overlapping secrets are masked.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::noncontiguous::NFA;
use aho_corasick::{Anchored, MatchKind};

use crate::escape::escaped_forms;

/// Replaces a secret, or several that touch or overlap.
pub const MASK: &str = "***";

/// Shorter values, in characters, occur in ordinary text, and masking them would reveal them.
const MIN_VALUE: usize = 4;

/// Minimum length, in characters, of a line that is masked on its own. Programs print keys line by line.
const MIN_LINE: usize = 8;

/// An automaton that finds the secrets of a job.
#[derive(derive_more::Debug)]
pub struct SecretPatterns(#[debug("***")] Option<Patterns>);

struct Patterns {
    automaton: NFA,
    start: StateID,
    /// For each state, how many of the last bytes may be the start of a secret.
    depths: Vec<usize>,
}

impl SecretPatterns {
    /// Matches each value of at least 4 characters, with and without surrounding white space, and each of its lines of
    /// at least 8 characters, all of them also in their escaped forms. Fails if the values exceed the size of an automaton (2 GiB).
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut patterns = BTreeSet::new();
        for secret in secrets {
            patterns.extend([secret, secret.trim()].into_iter().filter(|value| has_chars(value, MIN_VALUE)));
            patterns.extend(secret.lines().map(str::trim).filter(|line| has_chars(line, MIN_LINE)));
        }
        if patterns.is_empty() {
            return Ok(Self(None));
        }
        let escaped: Vec<String> = patterns.iter().flat_map(|pattern| escaped_forms(pattern)).collect();
        patterns.extend(escaped.iter().map(String::as_str));
        // Only this match kind reports overlapping secrets.
        let automaton = NFA::builder().match_kind(MatchKind::Standard).prefilter(false).build(&patterns);
        let automaton = automaton.map_err(|error| error.to_string())?;
        let start = automaton.start_state(Anchored::No).map_err(|error| error.to_string())?;
        let mut depths = Vec::new();
        for pattern in patterns {
            let mut state = start;
            for (index, byte) in pattern.bytes().enumerate() {
                state = automaton.next_state(Anchored::No, state, byte);
                if depths.len() <= state.as_usize() {
                    depths.resize(state.as_usize() + 1, 0);
                }
                if let Some(depth) = depths.get_mut(state.as_usize()) {
                    *depth = index + 1;
                }
            }
        }
        Ok(Self(Some(Patterns { automaton, start, depths })))
    }
}

impl Patterns {
    /// Length of the longest secret that ends in this state; 0 if there is none.
    fn longest_match(&self, state: StateID) -> usize {
        if !self.automaton.is_match(state) {
            return 0;
        }
        let matches = (0..self.automaton.match_len(state)).map(|at| self.automaton.match_pattern(state, at));
        matches.map(|pattern| self.automaton.pattern_len(pattern)).max().unwrap_or(0)
    }
}

fn has_chars(text: &str, count: usize) -> bool {
    text.chars().nth(count - 1).is_some()
}

/// Masks the secrets in one stream.
pub struct SecretMasker {
    patterns: Arc<SecretPatterns>,
    state: Option<StateID>,
    /// Bytes received and bytes written so far.
    received: u64,
    written: u64,
    /// Received but not yet written.
    pending: VecDeque<u8>,
    /// Start and end of the text to mask, as offsets like `received`: sorted and disjoint.
    matches: VecDeque<(u64, u64)>,
    /// End of the last mask; text that continues it needs no mask of its own.
    masked_until: Option<u64>,
}

impl SecretMasker {
    pub fn new(patterns: Arc<SecretPatterns>) -> Self {
        Self {
            patterns,
            state: None,
            received: 0,
            written: 0,
            pending: VecDeque::new(),
            matches: VecDeque::new(),
            masked_until: None,
        }
    }

    /// Returns the text that can no longer be part of a secret, masked. The rest follows later.
    pub fn push(&mut self, text: String) -> String {
        let shared = Arc::clone(&self.patterns);
        let Some(patterns) = &shared.0 else { return text };
        let mut masked = Vec::with_capacity(text.len());
        for byte in text.bytes() {
            let state = self.state.unwrap_or(patterns.start);
            let state = patterns.automaton.next_state(Anchored::No, state, byte);
            self.state = Some(state);
            self.received += 1;
            self.pending.push_back(byte);
            let length = patterns.longest_match(state) as u64;
            if length > 0 {
                self.add_match(self.received - length);
            }
            let depth = patterns.depths.get(state.as_usize()).copied().unwrap_or(0) as u64;
            self.write_until(self.received - depth, &mut masked);
        }
        into_text(masked)
    }

    /// Returns the rest: an incomplete secret at the end of the output is not one.
    pub fn finish(&mut self) -> String {
        let mut masked = Vec::new();
        self.write_until(self.received, &mut masked);
        self.state = None;
        into_text(masked)
    }

    /// Adds the text from `start` to the last received byte, merged with matches that it touches.
    fn add_match(&mut self, mut start: u64) {
        while let Some((earlier, _)) = self.matches.back().copied().filter(|(_, end)| *end >= start) {
            start = start.min(earlier);
            self.matches.pop_back();
        }
        self.matches.push_back((start, self.received));
    }

    fn write_until(&mut self, end: u64, masked: &mut Vec<u8>) {
        while self.written < end {
            let Some(byte) = self.pending.pop_front() else { return };
            let offset = self.written;
            self.written += 1;
            match self.matches.front().copied() {
                Some((start, end)) if start <= offset => {
                    if self.masked_until.is_none_or(|masked_until| masked_until < offset) {
                        masked.extend_from_slice(MASK.as_bytes());
                    }
                    self.masked_until = Some(self.written);
                    if end <= self.written {
                        self.matches.pop_front();
                    }
                }
                _ => masked.push(byte),
            }
        }
    }
}

/// Secrets consist of whole characters, so masking splits none.
fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(secrets: &[&str], text: &str, chunk: usize) -> String {
        let mut masker = SecretMasker::new(Arc::new(SecretPatterns::new(secrets.iter().copied()).unwrap()));
        let letters: Vec<char> = text.chars().collect();
        let pieces = letters.chunks(chunk).map(|piece| masker.push(piece.iter().collect()));
        let mut output: String = pieces.collect();
        output.push_str(&masker.finish());
        output
    }

    #[test]
    fn a_secret_is_masked_wherever_the_text_is_split() {
        for size in 1..12 {
            assert_eq!(
                mask(&["hunter2"], "user hunter2, again: hunter2hunter2!", size),
                "user ***, again: ***!"
            );
        }
    }

    #[test]
    fn overlapping_secrets_are_masked_completely() {
        for size in 1..9 {
            assert_eq!(mask(&["abcd", "cdef"], "-abcdef-", size), "-***-");
            assert_eq!(mask(&["abcdefgh", "cdef"], "-abcdefg-cdef", size), "-ab***g-***");
        }
    }

    #[test]
    fn text_that_only_starts_like_a_secret_is_unchanged() {
        assert_eq!(mask(&["hunter2"], "hunte hunter hunter", 3), "hunte hunter hunter");
        assert_eq!(mask(&["aaab"], "aaaaab aaa", 1), "aa*** aaa");
    }

    #[test]
    fn short_values_are_not_masked_and_long_lines_are_masked_on_their_own() {
        assert_eq!(mask(&["abc", "grüß"], "abc grüß", 2), "abc ***");
        let key = "-----BEGIN KEY-----\nc2VjcmV0\nab==\n";
        assert_eq!(mask(&[key], "c2VjcmV0 ab==", 4), "*** ab==");
        assert_eq!(mask(&["hunter2\n"], "hunter2", 4), "***");
    }

    #[test]
    fn escaped_forms_of_values_and_of_lines_are_masked() {
        let secret = "say \"hi\"\nit's a secret\n";
        for (printed, masked) in [
            (r#"{"key": "say \"hi\"\nit's a secret\n"}"#, r#"{"key": "***"}"#),
            (r#"['say "hi"\nit\'s a secret\n']"#, "['***']"),
            (r#"say \"hi\""#, "***"),
            (r"'it'\''s a secret'", "'***'"),
        ] {
            for size in [1, 5, 100] {
                assert_eq!(mask(&[secret], printed, size), masked);
            }
        }
    }

    #[test]
    fn only_text_that_may_start_a_secret_is_held_back() {
        let mut masker = SecretMasker::new(Arc::new(SecretPatterns::new(["hunter2"]).unwrap()));
        assert_eq!(masker.push("one\nhu".to_owned()), "one\n");
        assert_eq!(masker.push("h".to_owned()), "hu");
        assert_eq!(masker.finish(), "h");
        let mut without_secrets = SecretMasker::new(Arc::new(SecretPatterns::new([]).unwrap()));
        assert_eq!(without_secrets.push("all".to_owned()), "all");
    }

    #[test]
    fn a_repetitive_secret_takes_linear_time() {
        let secret = "a".repeat(60_000);
        let mut masker = SecretMasker::new(Arc::new(SecretPatterns::new([secret.as_str()]).unwrap()));
        let output = (0..10).map(|_| masker.push("a".repeat(60_000))).collect::<String>() + &masker.finish();
        assert_eq!(output, MASK);
    }

    #[test]
    fn two_hundred_secrets_need_little_memory() {
        for (mark, length, max_bytes) in [("", 40, 1 << 20), ("", 1000, 16 << 20), ("\"'", 300, 64 << 20)] {
            // Hardly any common prefixes, which would save memory.
            let secrets: Vec<String> = (0..200_u64)
                .map(|number| {
                    let digits = format!("{mark}{:016x}", (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                    digits.chars().cycle().take(length).collect()
                })
                .collect();
            let patterns = SecretPatterns::new(secrets.iter().map(String::as_str)).unwrap().0.unwrap();
            let bytes = patterns.automaton.memory_usage() + patterns.depths.capacity() * size_of::<usize>();
            assert!(bytes < max_bytes, "{mark} {length}: {bytes}");
        }
    }

    /// Tries every secret at every offset.
    fn mask_naively(secrets: &[String], text: &str) -> String {
        let mut masked = vec![false; text.len()];
        for secret in secrets.iter().filter(|secret| has_chars(secret, MIN_VALUE)) {
            for at in 0..text.len() {
                if text.as_bytes()[at..].starts_with(secret.as_bytes()) {
                    masked[at..at + secret.len()].fill(true);
                }
            }
        }
        let mut output = String::new();
        for (at, letter) in text.char_indices() {
            match masked[at] {
                false => output.push(letter),
                true if at == 0 || !masked[at - 1] => output.push_str(MASK),
                true => {}
            }
        }
        output
    }

    proptest! {
        #[test]
        fn any_split_masks_what_the_naive_search_masks(
            secrets in proptest::collection::vec("[abä]{1,6}", 0..5), text in "[abä]{0,60}", size in 1usize..9,
        ) {
            let names: Vec<&str> = secrets.iter().map(String::as_str).collect();
            prop_assert_eq!(mask(&names, &text, size), mask_naively(&secrets, &text));
        }
    }
}
