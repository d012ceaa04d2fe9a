//! Text of scripts and servers on a terminal: shown, never obeyed.

use std::borrow::Cow;

/// Control characters other than newline and tab become `\x1b` or `\r`: they could move the cursor,
/// recolour or retitle the terminal, or make it type.
pub fn visible(text: &str) -> Cow<'_, str> {
    rewritten(text, |c, out| match c {
        '\r' => out.push_str("\\r"),
        c => out.push_str(&format!("\\x{:02x}", u32::from(c))),
    })
}

/// The same within JSON, where it has to stay JSON.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    rewritten(json, |c, out| out.push_str(&format!("\\u{:04x}", u32::from(c))))
}

fn rewritten(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.chars().any(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if obeyed(c) { escape(c, &mut out) } else { out.push(c) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(visible("\x1b[2Jgone\x07 50%\r\u{9b}1m\x7f"), "\\x1b[2Jgone\\x07 50%\\r\\x9b1m\\x7f");
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        let text = "naïve\tline\n日本語 🦀\n";
        assert!(matches!(visible(text), Cow::Borrowed(same) if same == text));
    }

    #[test]
    fn json_stays_json() {
        let json = serde_json::to_string("\u{9b}1m\x7f\x1b").unwrap();
        let shown = visible_json(&json);
        assert!(!shown.chars().any(char::is_control), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), "\u{9b}1m\x7f\x1b");
    }
}
