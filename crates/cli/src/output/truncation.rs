//! What was cut from the middle of a long stream.
//!
//! The server keeps the first and the last half of its limit, with one line between them:
//! `[… 3 MiB cut by RGrid …]`.

use rgrid_api::units::format_size;

const MARKER_BEGIN: &str = "\n[… ";
const MARKER_END: &str = " cut by RGrid …]\n";
/// Longer than any size that is told in a marker.
const SIZE_MAX: usize = 20;

/// A cut stream, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut<'a> {
    pub first: &'a str,
    pub last: &'a str,
}

impl<'a> Cut<'a> {
    /// None when `text` is all that the script wrote, which was `total` bytes.
    pub fn of(text: &'a str, total: u64) -> Option<Self> {
        if text.len() as u64 == total {
            return None;
        }
        // A script may write such a line too. Both halves are of about one length, so the true one
        // stands nearest to the middle.
        let found = text.match_indices(MARKER_BEGIN).filter_map(|(at, _)| Self::around(text, at));
        found.min_by_key(|cut| cut.first.len().abs_diff(cut.last.len()))
    }

    fn around(text: &'a str, marker: usize) -> Option<Self> {
        let (first, rest) = text.split_at_checked(marker)?;
        let (size, last) = rest.strip_prefix(MARKER_BEGIN)?.split_once(MARKER_END)?;
        (size.len() <= SIZE_MAX && !size.contains('\n')).then_some(Self { first, last })
    }

    pub fn kept(&self) -> u64 {
        (self.first.len() + self.last.len()) as u64
    }
}

/// `stdout was cut at 100 KiB (of 3.1 MiB)`.
pub fn warning(stream: rgrid_api::Stream, text: &str, total: u64) -> Option<String> {
    Some(cut_at(stream, Cut::of(text, total)?.kept(), total))
}

pub fn cut_at(stream: rgrid_api::Stream, kept: u64, total: u64) -> String {
    format!("{stream} was cut at {} (of {})", format_size(kept), format_size(total))
}

#[cfg(test)]
mod tests {
    use rgrid_api::Stream;

    use super::*;

    #[test]
    fn a_cut_stream_tells_its_halves() {
        let text = "aaaa\n[… 1 byte cut by RGrid …]\nzzzz";
        assert_eq!(Cut::of(text, 9), Some(Cut { first: "aaaa", last: "zzzz" }));
        assert_eq!(Cut::of("aaaa", 4), None);
    }

    #[test]
    fn a_script_that_writes_such_a_line_does_not_deceive() {
        let own = "\n[… 1 byte cut by RGrid …]\n";
        assert_eq!(Cut::of(own, own.len() as u64), None);
        let text = format!("a{own}{}{own}{}", "b".repeat(100), "c".repeat(120));
        assert_eq!(Cut::of(&text, 4000).unwrap().last, "c".repeat(120));
    }

    #[test]
    fn the_warning_tells_what_was_kept_and_what_there_was() {
        let half = "x".repeat(50 << 10);
        let text = format!("{half}\n[… 3 MiB cut by RGrid …]\n{half}");
        let expected = "stdout was cut at 100 KiB (of 3.1 MiB)";
        assert_eq!(warning(Stream::Stdout, &text, 3_250_586).as_deref(), Some(expected));
        assert_eq!(warning(Stream::Stdout, "short", 5), None);
    }
}
