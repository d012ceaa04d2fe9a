//! One stream's text, its secrets covered: live up to the limit, beyond it only its end and its size.

use std::collections::VecDeque;
use std::sync::Arc;

use rgrid_init::{MAX_TAIL, SecretMasker, SecretPatterns, StreamEnd, TextDecoder, char_floor};

pub struct Capture {
    decoder: TextDecoder,
    /// Before anything is cut: half a secret is none that could be found.
    masker: SecretMasker,
    limit: u64,
    /// How much may still go out live. 0 for good once something was held back.
    live_left: usize,
    total: u64,
    tail: VecDeque<u8>,
    tail_limit: usize,
}

impl Capture {
    pub fn new(limit: u64, masks: &Arc<SecretPatterns>) -> Self {
        let bytes = usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            decoder: TextDecoder::new(),
            masker: SecretMasker::new(Arc::clone(masks)),
            limit,
            live_left: bytes,
            total: 0,
            tail: VecDeque::new(),
            tail_limit: (bytes / 2).min(MAX_TAIL),
        }
    }

    /// The part of the new text that goes out live.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        let text = self.decoder.push(bytes);
        let text = self.masker.push(text);
        self.take(text)
    }

    /// After the last byte.
    pub fn finish(&mut self) -> String {
        let rest = self.decoder.finish();
        let mut text = self.masker.push(rest);
        text.push_str(&self.masker.finish());
        self.take(text)
    }

    pub fn end(mut self) -> StreamEnd {
        if self.total <= self.limit {
            return StreamEnd { total: self.total, tail: String::new() };
        }
        let half_a_character = self.tail.iter().take_while(|&&byte| byte & 0xc0 == 0x80).count();
        self.tail.drain(..half_a_character);
        let tail = String::from_utf8(self.tail.into()).unwrap_or_default();
        StreamEnd { total: self.total, tail }
    }

    fn take(&mut self, mut text: String) -> String {
        self.total = self.total.saturating_add(text.len() as u64);
        self.remember(text.as_bytes());
        let live = char_floor(&text, self.live_left);
        // A smaller character after one that did not fit would leave a hole.
        self.live_left = if live < text.len() { 0 } else { self.live_left - live };
        text.truncate(live);
        text
    }

    fn remember(&mut self, text: &[u8]) {
        let newest = text.get(text.len().saturating_sub(self.tail_limit)..).unwrap_or_default();
        let excess = (self.tail.len() + newest.len()).saturating_sub(self.tail_limit);
        self.tail.drain(..excess);
        self.tail.extend(newest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rgrid_init::assemble;

    use super::*;

    fn capture(text: &str, limit: u64, chunk: usize) -> (String, StreamEnd) {
        capture_without(&[], text, limit, chunk)
    }

    fn capture_without(secrets: &[&str], text: &str, limit: u64, chunk: usize) -> (String, StreamEnd) {
        let masks = Arc::new(SecretPatterns::new(secrets.iter().copied()).unwrap());
        let mut capture = Capture::new(limit, &masks);
        let mut live: String = text.as_bytes().chunks(chunk).map(|piece| capture.push(piece)).collect();
        live.push_str(&capture.finish());
        (live, capture.end())
    }

    #[test]
    fn up_to_the_limit_everything_is_live_and_nothing_is_kept() {
        let end = StreamEnd { total: 8, tail: String::new() };
        assert_eq!(capture("12345678", 8, 3), ("12345678".to_owned(), end));
    }

    #[test]
    fn one_byte_beyond_the_limit_the_last_half_is_kept() {
        let end = StreamEnd { total: 9, tail: "6789".to_owned() };
        assert_eq!(capture("123456789", 8, 2), ("12345678".to_owned(), end));
    }

    #[test]
    fn after_a_character_that_did_not_fit_nothing_smaller_follows() {
        assert_eq!(capture("1234567äb", 8, 1).0, "1234567");
    }

    #[test]
    fn a_secret_on_the_cut_is_covered_before_it_is_cut() {
        for chunk in 1..10 {
            let (live, end) = capture_without(&["hunter2"], "xxhunter2yyyy", 4, chunk);
            assert_eq!((live.as_str(), end.total, end.tail.as_str()), ("xx**", 9, "yy"));
        }
    }

    proptest! {
        #[test]
        fn what_is_assembled_is_the_beginning_and_the_end(
            text in "[aä€😀]{0,60}", limit in 0u64..80, chunk in 1usize..20,
        ) {
            let (live, end) = capture(&text, limit, chunk);
            prop_assert!(text.starts_with(&live) && live.len() as u64 <= limit);
            prop_assert!(text.ends_with(&end.tail) && end.tail.len() as u64 <= limit / 2);
            let (shown, cut) = assemble(&live, &end, limit);
            prop_assert_eq!(cut, text.len() as u64 > limit);
            if !cut {
                prop_assert_eq!(shown, text);
            }
        }
    }
}
