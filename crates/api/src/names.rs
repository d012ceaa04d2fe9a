//! Rules about names that the CLI and the daemon share. Errors are written for the user.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Maximum length of a file name in bytes: the limit of Linux file systems.
pub const FILE_NAME_MAX: usize = 255;

/// Maximum number of labels of a worker, and so of required labels of an execution.
pub const WORKER_LABELS_MAX: usize = 8;

/// Valid priorities of an execution.
pub const PRIORITIES: RangeInclusive<i32> = -100..=100;

/// Checks the name of an environment variable: `[A-Za-z_][A-Za-z0-9_]*`.
pub fn check_env_name(name: &str) -> Result<(), String> {
    let starts_with_digit = name.starts_with(|c: char| c.is_ascii_digit());
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.is_empty() && !starts_with_digit && name.chars().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "{:?} is not a valid environment variable name: use letters, digits and _, not starting with a digit, as in \
         API_KEY",
        shortened(name)
    ))
}

/// Checks a file name: no folder, no control characters, at most 255 bytes.
pub fn check_file_name(name: &str) -> Result<(), String> {
    let problem = if name.is_empty() {
        "is empty"
    } else if name.len() > FILE_NAME_MAX {
        "is longer than 255 bytes"
    } else if name == "." || name == ".." {
        "is a folder"
    } else if name.contains('/') {
        "contains a /: give a name without a folder"
    } else if name.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Ok(());
    };
    Err(format!("file name {:?} {problem}", shortened(name)))
}

/// Whether a character changes how a terminal shows the text around it: control characters, line separators, and the
/// directional formatting characters of UAX #9 (<https://www.unicode.org/reports/tr9/>), which show `a.txt\u{202e}hs.`
/// as if it ended in `.sh`.
pub fn is_display_control(c: char) -> bool {
    let reorders_text =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || reorders_text || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Checks the key of a label: 1 to 63 letters, digits, `.`, `_`, `-` and `/`.
pub fn check_label_key(key: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    if (1..=63).contains(&key.len()) && key.chars().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "{:?} is not a valid label key: use 1 to 63 letters, digits and . _ - /, as in team",
        shortened(key)
    ))
}

/// Checks the value of a label: at most 255 bytes, no control characters.
pub fn check_label_value(value: &str) -> Result<(), String> {
    if value.len() <= 255 && !value.chars().any(char::is_control) {
        return Ok(());
    }
    Err("a label value may have at most 255 bytes and no control characters".to_owned())
}

/// Formats labels for a sentence, such as `gpu=true and zone=eu`.
pub fn format_labels(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" and ")
}

/// Edit distance between two names. Only the first 64 characters of `a` count, because it may be user input.
pub fn edit_distance(a: &str, b: &str) -> usize {
    strsim::levenshtein(&a.chars().take(64).collect::<String>(), b)
}

/// At most 40 characters of a name, for an error message.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(40) {
        Some(_) => name.chars().take(40).chain(['…']).collect(),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_variable_names_follow_the_shell_rules() {
        for good in ["A", "_", "API_KEY", "x1"] {
            assert!(check_env_name(good).is_ok(), "{good}");
        }
        for bad in ["", "1X", "A B", "=", "A-B", "Ä", "A\n"] {
            assert!(check_env_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn file_names_contain_no_folder() {
        for good in ["a", "data.csv", "..a", "naïve name.txt"] {
            assert!(check_file_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../x", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(check_file_name(bad).is_err(), "{bad}");
        }
        assert!(check_file_name(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn labels_are_limited_in_length_and_characters() {
        assert!(check_label_key("team").is_ok());
        assert!(check_label_key(&"k".repeat(64)).is_err());
        assert!(check_label_key("a b").is_err());
        assert!(check_label_value("línea").is_ok());
        assert!(check_label_value("a\nb").is_err());
    }

    #[test]
    fn edit_distance_counts_insertions_deletions_and_substitutions() {
        for (a, b, expected) in
            [("", "", 0), ("pyton", "python", 1), ("node:20", "node:22", 1), ("a", "bc", 2)]
        {
            assert_eq!(edit_distance(a, b), expected, "{a} {b}");
        }
        assert_eq!(edit_distance(&"x".repeat(1000), ""), 64);
    }

    #[test]
    fn errors_quote_at_most_forty_characters_of_a_name() {
        let error = check_label_key(&"ä".repeat(64)).unwrap_err();
        assert!(error.starts_with(&format!("\"{}…\" is not", "ä".repeat(40))), "{error}");
    }
}
