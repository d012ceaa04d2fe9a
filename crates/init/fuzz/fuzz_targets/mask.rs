//! Masks arbitrary secrets in arbitrary text and chunks: all secrets are masked, and other text is unchanged.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use rgrid_init::{MASK, SecretMasker, SecretPatterns};

fuzz_target!(|input: (Vec<String>, String, u8)| {
    let (secrets, text, size) = input;
    let patterns = Arc::new(SecretPatterns::new(secrets.iter().map(String::as_str)).unwrap());
    let whole = mask(&patterns, std::iter::once(text.clone()));
    let letters: Vec<char> = text.chars().collect();
    let pieces = letters.chunks(usize::from(size).max(1)).map(|piece| piece.iter().collect());
    assert_eq!(mask(&patterns, pieces), whole, "the chunks make a difference");
    // Next to a mask, text may look like a secret that contains asterisks.
    for secret in secrets.iter().filter(|secret| secret.chars().count() >= 4) {
        for part in whole.split(MASK) {
            assert!(!part.contains(secret.as_str()) || secret.contains("***"), "a secret was not masked");
        }
    }
    if !secrets.iter().any(|secret| secret.chars().count() >= 4) {
        assert_eq!(whole, text);
    }
});

fn mask(patterns: &Arc<SecretPatterns>, pieces: impl Iterator<Item = String>) -> String {
    let mut masker = SecretMasker::new(Arc::clone(patterns));
    let mut all: String = pieces.map(|piece| masker.push(piece)).collect();
    all.push_str(&masker.finish());
    all
}
