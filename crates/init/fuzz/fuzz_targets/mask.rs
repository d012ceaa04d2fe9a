//! Any secrets in any text, cut anywhere: none is told, and what is no secret is told as it is.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use rgrid_init::{MASK, SecretMasker, SecretPatterns};

fuzz_target!(|input: (Vec<String>, String, u8)| {
    let (secrets, text, size) = input;
    let masks = Arc::new(SecretPatterns::new(secrets.iter().map(String::as_str)).unwrap());
    let whole = told(&masks, std::iter::once(text.clone()));
    let letters: Vec<char> = text.chars().collect();
    let pieces = letters.chunks(usize::from(size).max(1)).map(|piece| piece.iter().collect());
    assert_eq!(told(&masks, pieces), whole, "the cut makes a difference");
    // A mask may by chance complete something that looks like a secret; without one in it nothing can.
    for secret in secrets.iter().filter(|secret| secret.chars().count() >= 4) {
        for part in whole.split(MASK) {
            assert!(!part.contains(secret.as_str()) || secret.contains("***"), "a secret is told");
        }
    }
    if !secrets.iter().any(|secret| secret.chars().count() >= 4) {
        assert_eq!(whole, text);
    }
});

fn told(masks: &Arc<SecretPatterns>, pieces: impl Iterator<Item = String>) -> String {
    let mut masker = SecretMasker::new(Arc::clone(masks));
    let mut all: String = pieces.map(|piece| masker.push(piece)).collect();
    all.push_str(&masker.finish());
    all
}
