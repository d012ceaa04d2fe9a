//! How much of a growing stream is on the screen already: nothing is shown twice.

/// What was shown of one stream of one attempt.
#[derive(Debug, Default)]
pub struct IncrementalText(String);

impl IncrementalText {
    /// The stream as it stands while the script runs; gives what is new. Text that does not continue
    /// what was shown belongs to something else (an end, another attempt), of which one will hear.
    pub fn grow<'a>(&mut self, now: &'a str) -> &'a str {
        let Some(new) = now.strip_prefix(self.0.as_str()) else { return "" };
        self.0.push_str(new);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> IncrementalText {
        let mut shown = IncrementalText::default();
        shown.grow(text);
        shown
    }

    #[test]
    fn each_look_gives_what_is_new() {
        let mut shown = IncrementalText::default();
        assert_eq!((shown.grow("a\n"), shown.grow("a\n"), shown.grow("a\nbé\n")), ("a\n", "", "bé\n"));
    }

    #[test]
    fn another_attempts_text_is_not_shown_as_more_of_this_one() {
        let mut shown = shown("first attempt");
        assert_eq!(shown.grow("second attempt, longer"), "");
        assert_eq!(shown.grow(""), "");
    }
}
