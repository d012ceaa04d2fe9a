//! Secrets in a script's text: found wherever the text was cut, and replaced by `***`.
//!
//! An automaton of Aho and Corasick reads each byte once, whatever the number of secrets. What might be the
//! beginning of one is held back until the next bytes tell. Where secrets overlap, all of them are covered.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// What stands in place of a secret; one for several that touch.
pub const MASK: &str = "***";

/// A shorter value occurs in any text, and covering it would tell what it is.
const SHORTEST: usize = 4;

/// Lines of a value are covered on their own (programs print keys line by line) from this length on.
const SHORTEST_LINE: usize = 8;

const ROOT: u32 = 0;

/// The secrets of a job, made ready for the search.
#[derive(Default)]
pub struct Masks {
    nodes: Vec<Node>,
}

/// The state "the last `depth` bytes are the beginning of a secret".
#[derive(Clone, Default)]
struct Node {
    byte: u8,
    depth: u32,
    /// First of the states that are one byte further; [`ROOT`]: there is none.
    child: u32,
    sibling: u32,
    /// The next shorter beginning that the last bytes are.
    fallback: u32,
    /// Length of the longest secret that ends here; 0: none does.
    found: u32,
}

impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masks(***)")
    }
}

impl Masks {
    /// Covers each value of four characters and more, with and without white space around it, and each line
    /// of a longer one.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut masks = Self { nodes: vec![Node::default()] };
        for secret in secrets {
            let whole = [secret, secret.trim()].into_iter().filter(|part| has_at_least(part, SHORTEST));
            let lines = secret.lines().map(str::trim).filter(|line| has_at_least(line, SHORTEST_LINE));
            whole.chain(lines).for_each(|part| masks.insert(part.as_bytes()));
        }
        masks.connect();
        masks
    }

    fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }

    fn insert(&mut self, word: &[u8]) {
        let mut at = ROOT;
        for byte in word {
            at = match self.child(at, *byte) {
                Some(next) => next,
                None => self.add(at, *byte),
            };
        }
        let length = self.node(at).depth;
        self.change(at, |node| node.found = length);
    }

    fn add(&mut self, parent: u32, byte: u8) -> u32 {
        let Ok(new) = u32::try_from(self.nodes.len()) else { return ROOT };
        let (depth, sibling) = (self.node(parent).depth + 1, self.node(parent).child);
        self.nodes.push(Node { byte, depth, sibling, ..Node::default() });
        self.change(parent, |node| node.child = new);
        new
    }

    /// Level by level, so that what is shorter is known before what is longer.
    fn connect(&mut self) {
        let mut waiting = VecDeque::from([ROOT]);
        while let Some(parent) = waiting.pop_front() {
            let mut at = self.node(parent).child;
            while at != ROOT {
                let node = self.node(at).clone();
                let fallback =
                    if parent == ROOT { ROOT } else { self.step(self.node(parent).fallback, node.byte) };
                let found = node.found.max(self.node(fallback).found);
                self.change(at, |node| (node.fallback, node.found) = (fallback, found));
                waiting.push_back(at);
                at = node.sibling;
            }
        }
    }

    /// The state after one more byte.
    fn step(&self, mut at: u32, byte: u8) -> u32 {
        loop {
            if let Some(next) = self.child(at, byte) {
                return next;
            }
            if at == ROOT {
                return ROOT;
            }
            at = self.node(at).fallback;
        }
    }

    fn child(&self, parent: u32, byte: u8) -> Option<u32> {
        let mut at = self.node(parent).child;
        while at != ROOT && self.node(at).byte != byte {
            at = self.node(at).sibling;
        }
        (at != ROOT).then_some(at)
    }

    fn node(&self, at: u32) -> &Node {
        const NONE: Node = Node { byte: 0, depth: 0, child: ROOT, sibling: ROOT, fallback: ROOT, found: 0 };
        // Every number that is asked for came from `add`.
        self.nodes.get(at as usize).unwrap_or(&NONE)
    }

    fn change(&mut self, at: u32, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(at as usize) {
            change(node);
        }
    }
}

fn has_at_least(text: &str, characters: usize) -> bool {
    text.chars().nth(characters - 1).is_some()
}

/// Covers the secrets in one stream of text.
pub struct Masker {
    masks: Arc<Masks>,
    state: u32,
    /// Bytes that have come in, and those that have gone out.
    taken: u64,
    given: u64,
    /// What was taken but not given.
    held: VecDeque<u8>,
    /// Beginnings and ends of what is to be covered, counted as `taken` is, in order and apart.
    covered: VecDeque<(u64, u64)>,
    /// Where the last mask that was given ends: what touches it needs none of its own.
    masked_until: Option<u64>,
}

impl Masker {
    pub fn new(masks: Arc<Masks>) -> Self {
        Self {
            masks,
            state: ROOT,
            taken: 0,
            given: 0,
            held: VecDeque::new(),
            covered: VecDeque::new(),
            masked_until: None,
        }
    }

    /// What can be told now. The rest comes with the next text, or at the end.
    pub fn push(&mut self, text: String) -> String {
        if self.masks.is_empty() {
            return text;
        }
        let mut told = Vec::with_capacity(text.len());
        for byte in text.bytes() {
            self.state = self.masks.step(self.state, byte);
            self.taken += 1;
            self.held.push_back(byte);
            let node = self.masks.node(self.state);
            let (depth, found) = (u64::from(node.depth), u64::from(node.found));
            if found > 0 {
                self.cover(self.taken - found);
            }
            self.give(self.taken - depth, &mut told);
        }
        readable(told)
    }

    /// After the last byte: what was begun will not be completed.
    pub fn finish(&mut self) -> String {
        let mut told = Vec::new();
        self.give(self.taken, &mut told);
        self.state = ROOT;
        readable(told)
    }

    /// From there to the last byte that was taken.
    fn cover(&mut self, mut from: u64) {
        while let Some((begin, end)) = self.covered.back().copied().filter(|(_, end)| *end >= from) {
            debug_assert!(end <= self.taken);
            from = from.min(begin);
            self.covered.pop_back();
        }
        self.covered.push_back((from, self.taken));
    }

    fn give(&mut self, upto: u64, told: &mut Vec<u8>) {
        while self.given < upto {
            let Some(byte) = self.held.pop_front() else { return };
            let at = self.given;
            self.given += 1;
            match self.covered.front().copied() {
                Some((begin, end)) if begin <= at => {
                    if self.masked_until.is_none_or(|masked| masked < at) {
                        told.extend_from_slice(MASK.as_bytes());
                    }
                    self.masked_until = Some(at + 1);
                    if end <= self.given {
                        self.covered.pop_front();
                    }
                }
                _ => told.push(byte),
            }
        }
    }
}

/// Secrets are whole characters, so nothing is cut within one.
fn readable(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(secrets: &[&str], text: &str, size: usize) -> String {
        let mut masker = Masker::new(Arc::new(Masks::new(secrets.iter().copied())));
        let letters: Vec<char> = text.chars().collect();
        let pieces = letters.chunks(size).map(|piece| masker.push(piece.iter().collect()));
        let mut told: String = pieces.collect();
        told.push_str(&masker.finish());
        told
    }

    #[test]
    fn a_secret_is_covered_wherever_the_text_is_cut() {
        for size in 1..12 {
            assert_eq!(
                masked(&["hunter2"], "user hunter2, again: hunter2hunter2!", size),
                "user ***, again: ***!"
            );
        }
    }

    #[test]
    fn overlapping_secrets_are_covered_whole() {
        for size in 1..9 {
            assert_eq!(masked(&["abcd", "cdef"], "-abcdef-", size), "-***-");
            assert_eq!(masked(&["abcdefgh", "cdef"], "-abcdefg-cdef", size), "-ab***g-***");
        }
    }

    #[test]
    fn what_only_begins_like_a_secret_is_told() {
        assert_eq!(masked(&["hunter2"], "hunte hunter hunter", 3), "hunte hunter hunter");
        assert_eq!(masked(&["aaab"], "aaaaab aaa", 1), "aa*** aaa");
    }

    #[test]
    fn short_values_are_told_and_lines_are_covered_on_their_own() {
        assert_eq!(masked(&["abc", "grüß"], "abc grüß", 2), "abc ***");
        let key = "-----BEGIN KEY-----\nc2VjcmV0\nab==\n";
        assert_eq!(masked(&[key], "c2VjcmV0 ab==", 4), "*** ab==");
        assert_eq!(masked(&["hunter2\n"], "hunter2", 4), "***");
    }

    #[test]
    fn nothing_is_held_back_that_need_not_be() {
        let mut masker = Masker::new(Arc::new(Masks::new(["hunter2"])));
        assert_eq!(masker.push("one\nhu".to_owned()), "one\n");
        assert_eq!(masker.push("h".to_owned()), "hu");
        assert_eq!(masker.finish(), "h");
        let mut free = Masker::new(Arc::new(Masks::new([])));
        assert_eq!(free.push("all".to_owned()), "all");
    }

    #[test]
    fn a_secret_that_repeats_itself_costs_no_more_than_its_text() {
        let secret = "a".repeat(60_000);
        let mut masker = Masker::new(Arc::new(Masks::new([secret.as_str()])));
        let told = (0..10).map(|_| masker.push("a".repeat(60_000))).collect::<String>() + &masker.finish();
        assert_eq!(told, MASK);
    }

    /// The same by trying every secret at every place.
    fn by_hand(secrets: &[String], text: &str) -> String {
        let mut covered = vec![false; text.len()];
        for secret in secrets.iter().filter(|secret| has_at_least(secret, SHORTEST)) {
            for at in 0..text.len() {
                if text.as_bytes()[at..].starts_with(secret.as_bytes()) {
                    covered[at..at + secret.len()].fill(true);
                }
            }
        }
        let mut told = String::new();
        for (at, letter) in text.char_indices() {
            match covered[at] {
                false => told.push(letter),
                true if at == 0 || !covered[at - 1] => told.push_str(MASK),
                true => {}
            }
        }
        told
    }

    proptest! {
        #[test]
        fn any_cut_gives_what_trying_everything_gives(
            secrets in proptest::collection::vec("[abä]{1,6}", 0..5), text in "[abä]{0,60}", size in 1usize..9,
        ) {
            let names: Vec<&str> = secrets.iter().map(String::as_str).collect();
            prop_assert_eq!(masked(&names, &text, size), by_hand(&secrets, &text));
        }
    }
}
