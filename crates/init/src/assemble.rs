//! Truncation of output that exceeds its limit.

use crate::StreamEnd;

/// The text of a stream and whether it was truncated. `head` is the text of its output events and `limit` the
/// `output_limit` of the job. Text that exceeds the limit is reduced to the first and the last half of the limit, with a
/// line between them that states the size of the missing part.
pub fn assemble(head: &str, end: &StreamEnd, limit: u64) -> (String, bool) {
    if end.total <= limit {
        return (head.to_owned(), false);
    }
    let half = usize::try_from(limit / 2).unwrap_or(usize::MAX);
    let first = head.get(..char_floor(head, half)).unwrap_or_default();
    let kept = (first.len() + end.tail.len()) as u64;
    let cut = human_size(end.total.saturating_sub(kept));
    (format!("{first}\n[… {cut} cut by RGrid …]\n{}", end.tail), true)
}

/// The largest character boundary of `text` that is not after the byte offset `at`.
pub fn char_floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&boundary| text.is_char_boundary(boundary)).unwrap_or(0)
}

fn human_size(bytes: u64) -> String {
    const KIB: f64 = 1024.0;
    let size = bytes as f64;
    let (size, unit) = match bytes {
        1 => return "1 byte".to_owned(),
        0..1024 => return format!("{bytes} bytes"),
        1024..1_048_576 => (size / KIB, "KiB"),
        1_048_576..1_073_741_824 => (size / KIB / KIB, "MiB"),
        _ => (size / KIB / KIB / KIB, "GiB"),
    };
    let size = format!("{size:.1}");
    format!("{} {unit}", size.strip_suffix(".0").unwrap_or(&size))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn end(total: u64, tail: &str) -> StreamEnd {
        StreamEnd { total, tail: tail.to_owned() }
    }

    #[test]
    fn text_of_exactly_the_limit_is_complete() {
        assert_eq!(assemble("12345678", &end(8, ""), 8), ("12345678".to_owned(), false));
    }

    #[test]
    fn text_one_byte_over_the_limit_is_truncated() {
        let expected = "1234\n[… 1 byte cut by RGrid …]\n6789";
        assert_eq!(assemble("12345678", &end(9, "6789"), 8), (expected.to_owned(), true));
    }

    #[test]
    fn a_character_across_the_boundary_is_omitted() {
        let expected = "aä\n[… 6 bytes cut by RGrid …]\nöz";
        assert_eq!(assemble("aäübcdü", &end(12, "öz"), 8), (expected.to_owned(), true));
    }

    #[test]
    fn a_limit_of_zero_keeps_nothing() {
        assert_eq!(assemble("", &end(3, ""), 0).0, "\n[… 3 bytes cut by RGrid …]\n");
    }

    #[test]
    fn sizes_are_readable() {
        let sizes = [1023, 1024, 1536, 3 << 20, 5 << 30].map(human_size);
        assert_eq!(sizes, ["1023 bytes", "1 KiB", "1.5 KiB", "3 MiB", "5 GiB"]);
    }

    proptest! {
        #[test]
        fn truncated_text_is_hardly_longer_than_the_limit(head in ".{0,40}", tail in ".{0,9}", total: u64, limit in 0u64..60) {
            let (text, truncated) = assemble(&head, &end(total, &tail), limit);
            prop_assert_eq!(truncated, total > limit);
            if truncated {
                prop_assert!(text.ends_with(&tail));
                prop_assert!(text.len() <= limit as usize / 2 + tail.len() + 60);
            }
        }
    }
}
