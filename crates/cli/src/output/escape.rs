//! Escapes control characters in text from scripts and servers, which a terminal would execute.

use std::borrow::Cow;

/// Control characters other than newline and tab become `\x1b` or `\r`: they could move the cursor, change
/// colours or the title, or make the terminal send input.
pub fn visible(text: &str) -> Cow<'_, str> {
    escape_controls(text, |c, out| match c {
        '\r' => out.push_str("\\r"),
        c => out.push_str(&format!("\\x{:02x}", u32::from(c))),
    })
}

/// As JSON escapes, so that the document stays valid.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    escape_controls(json, |c, out| out.push_str(&format!("\\u{:04x}", u32::from(c))))
}

fn escape_controls(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    let is_unsafe = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) { escape(c, &mut out) } else { out.push(c) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(visible("\x1b[2Jgone\x07 50%\r\u{9b}1m\x7f"), "\\x1b[2Jgone\\x07 50%\\r\\x9b1m\\x7f");
    }

    #[test]
    fn plain_text_is_unchanged() {
        let text = "naïve\tline\n日本語 🦀\n";
        assert!(matches!(visible(text), Cow::Borrowed(same) if same == text));
    }

    #[test]
    fn escaped_json_is_still_valid() {
        let json = serde_json::to_string("\u{9b}1m\x7f\x1b").unwrap();
        let shown = visible_json(&json);
        assert!(!shown.chars().any(char::is_control), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), "\u{9b}1m\x7f\x1b");
    }
}
