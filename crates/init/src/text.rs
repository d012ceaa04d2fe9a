//! Bytes of a script to text that any database takes.

/// Decodes UTF-8 that arrives in pieces cut anywhere. Invalid bytes and NUL become U+FFFD, with the result
/// of [`String::from_utf8_lossy`] over the whole, however the bytes were cut.
#[derive(Default)]
pub struct TextDecoder {
    /// The beginning of a character whose rest has not come yet: 3 bytes at most.
    begun: Vec<u8>,
}

impl TextDecoder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn push(&mut self, bytes: &[u8]) -> String {
        let begun = std::mem::take(&mut self.begun);
        if begun.is_empty() {
            return self.decode(bytes);
        }
        self.decode(&[&begun, bytes].concat())
    }

    /// After the last byte: a character that was begun will not be completed.
    pub fn finish(&mut self) -> String {
        let begun = std::mem::take(&mut self.begun);
        String::from_utf8_lossy(&begun).into_owned()
    }

    fn decode(&mut self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            push_without_nul(&mut text, chunk.valid());
            if chunks.peek().is_none() && may_go_on(chunk.invalid()) {
                self.begun = chunk.invalid().to_vec();
            } else if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text
    }
}

/// Are these the first bytes of a character that more bytes would complete?
fn may_go_on(invalid: &[u8]) -> bool {
    std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
}

/// Postgres takes no NUL in a text.
fn push_without_nul(text: &mut String, valid: &str) {
    let mut parts = valid.split('\0');
    text.extend(parts.next());
    for part in parts {
        text.push(char::REPLACEMENT_CHARACTER);
        text.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> String {
        let mut decoder = TextDecoder::new();
        let mut text: String = pieces.iter().map(|piece| decoder.push(piece)).collect();
        text.push_str(&decoder.finish());
        text
    }

    #[test]
    fn a_character_cut_in_two_is_one_character() {
        assert_eq!(decode(&[b"gr\xc3", b"\xbc\xc3\x9fe"]), "grüße");
    }

    #[test]
    fn a_character_that_never_ends_is_one_replacement() {
        assert_eq!(decode(&[b"a\xf0\x9f", b"\x98"]), "a\u{fffd}");
    }

    #[test]
    fn text_that_is_complete_is_not_held_back() {
        assert_eq!(TextDecoder::new().push("fertig ✓".as_bytes()), "fertig ✓");
    }

    #[test]
    fn nul_is_replaced() {
        assert_eq!(decode(&[b"\0a\0", b"\0"]), "\u{fffd}a\u{fffd}\u{fffd}");
    }

    /// Bytes of which many begin or continue a character, so that cuts hit characters often.
    fn awkward() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![any::<u8>(), 0x80u8..0xc0, 0xe0u8..0xf5, Just(0)];
        let part = prop_oneof![
            proptest::collection::vec(byte, 0..6),
            any::<char>().prop_map(|c| c.to_string().into_bytes())
        ];
        proptest::collection::vec(part, 0..20).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn any_cut_gives_what_the_whole_gives(bytes in awkward(), size in 1usize..9) {
            let whole = String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}");
            prop_assert_eq!(decode(&bytes.chunks(size).collect::<Vec<_>>()), whole);
        }
    }
}
