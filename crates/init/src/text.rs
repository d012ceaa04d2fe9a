//! Decodes the output of a script to text that Postgres accepts.

/// Decodes UTF-8 that arrives in arbitrary chunks. Invalid bytes and NUL become U+FFFD. Apart from NUL, the result is
/// that of [`String::from_utf8_lossy`] for all bytes together.
#[derive(Default)]
pub struct TextDecoder {
    /// The start of an incomplete character, at most 3 bytes.
    partial: Vec<u8>,
}

impl TextDecoder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn push(&mut self, bytes: &[u8]) -> String {
        let bytes = [&std::mem::take(&mut self.partial), bytes].concat();
        let mut text = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            // Postgres does not accept NUL in text.
            text.push_str(&chunk.valid().replace('\0', "\u{fffd}"));
            // Further bytes could complete this to a character.
            let incomplete = str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
            if chunks.peek().is_none() && incomplete {
                self.partial = chunk.invalid().to_vec();
            } else if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text
    }

    /// Returns the rest after the last byte: a replacement for an incomplete character.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.partial)).into_owned()
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
    fn a_character_split_across_chunks_is_decoded() {
        assert_eq!(decode(&[b"gr\xc3", b"\xbc\xc3\x9fe"]), "grüße");
    }

    #[test]
    fn an_incomplete_character_at_the_end_is_one_replacement() {
        assert_eq!(decode(&[b"a\xf0\x9f", b"\x98"]), "a\u{fffd}");
    }

    #[test]
    fn complete_characters_are_not_held_back() {
        assert_eq!(TextDecoder::new().push("fertig ✓".as_bytes()), "fertig ✓");
    }

    #[test]
    fn nul_is_replaced() {
        assert_eq!(decode(&[b"\0a\0", b"\0"]), "\u{fffd}a\u{fffd}\u{fffd}");
    }

    /// Bytes that often start or continue a character, so that chunks often split one.
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
        fn any_split_decodes_like_the_whole(bytes in awkward(), size in 1usize..9) {
            let whole = String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}");
            prop_assert_eq!(decode(&bytes.chunks(size).collect::<Vec<_>>()), whole);
        }
    }
}
