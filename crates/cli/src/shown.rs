//! How much of a growing stream is on the screen already: nothing is shown twice.

use crate::truncation::{self, Cut};

/// What was shown of one stream of one attempt.
#[derive(Debug, Default)]
pub struct Shown(String);

impl Shown {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The stream as it stands while the script runs; gives what is new. Text that does not continue
    /// what was shown belongs to something else (an end, another attempt), of which one will hear.
    pub fn grow<'a>(&mut self, now: &'a str) -> &'a str {
        let Some(new) = now.strip_prefix(self.0.as_str()) else { return "" };
        self.0.push_str(new);
        new
    }

    /// The stream as it is kept, of `total` bytes that the script wrote; gives what is to be shown still.
    ///
    /// The middle of a long stream is cut when it ends, and some of it may have been on the screen: then
    /// only what is really missing is told.
    pub fn finish(&self, end: &str, total: u64) -> String {
        let shown = self.0.as_str();
        if let Some(rest) = end.strip_prefix(shown) {
            return rest.to_owned();
        }
        match Cut::of(end, total).filter(|cut| shown.starts_with(cut.first)) {
            Some(cut) => behind(shown.len() as u64, cut.last, total),
            // It is none of what was shown: a run that was cut off, and recorded by somebody else.
            None => end.get(common(shown, end)..).unwrap_or_default().to_owned(),
        }
    }
}

/// What follows the first `shown` bytes of a stream whose end is `last`.
fn behind(shown: u64, last: &str, total: u64) -> String {
    let last_begins = total.saturating_sub(last.len() as u64);
    match shown.checked_sub(last_begins) {
        Some(overlap) => {
            let overlap = usize::try_from(overlap).unwrap_or(usize::MAX);
            last.get(overlap..).unwrap_or_default().to_owned()
        }
        None => format!("{}{last}", truncation::marker(last_begins - shown)),
    }
}

/// Length of the beginning that both have, up to a whole character.
fn common(one: &str, other: &str) -> usize {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an ended stream of that text is kept as, with that limit.
    fn kept(text: &str, limit: usize) -> String {
        if text.len() <= limit {
            return text.to_owned();
        }
        let (first, last) = (&text[..limit / 2], &text[text.len() - limit / 2..]);
        format!("{first}\n[… {} bytes cut by RGrid …]\n{last}", text.len() - limit)
    }

    fn shown(text: &str) -> Shown {
        let mut shown = Shown::default();
        shown.grow(text);
        shown
    }

    #[test]
    fn each_look_gives_what_is_new() {
        let mut shown = Shown::default();
        assert_eq!((shown.grow("a\n"), shown.grow("a\n"), shown.grow("a\nbé\n")), ("a\n", "", "bé\n"));
        assert_eq!(shown.finish("a\nbé\nend", 9), "end");
    }

    #[test]
    fn another_attempts_text_is_not_shown_as_more_of_this_one() {
        let mut shown = shown("first attempt");
        assert_eq!(shown.grow("second attempt, longer"), "");
        assert_eq!(shown.grow(""), "");
    }

    #[test]
    fn a_cut_end_goes_on_behind_what_was_shown() {
        let text: String = (0..100).map(|n| char::from(b'a' + n % 26)).collect();
        // The limit is 40, so 20 are kept at both ends, and up to 40 came live.
        for live in 0..=40 {
            let rest = shown(&text[..live]).finish(&kept(&text, 40), 100);
            let missing = 80 - live.max(20);
            let marker = if live <= 20 { "60 bytes".to_owned() } else { format!("{missing} B") };
            let first = if live <= 20 { &text[live..20] } else { "" };
            assert_eq!(rest, format!("{first}\n[… {marker} cut by RGrid …]\n{}", &text[80..]), "{live}");
        }
    }

    #[test]
    fn a_cut_that_leaves_nothing_missing_is_not_told() {
        // 45 bytes with a limit of 40: the last half begins at 25, and 40 were shown.
        let text: String = (0..45).map(|n| char::from(b'a' + n % 26)).collect();
        assert_eq!(shown(&text[..40]).finish(&kept(&text, 40), 45), &text[40..]);
    }

    #[test]
    fn an_end_that_does_not_fit_is_shown_from_where_it_differs() {
        assert_eq!(shown("abä").finish("abö!", 5), "ö!");
        assert_eq!(shown("abc").finish("ab", 2), "");
    }
}
