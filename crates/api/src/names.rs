//! Rules about names that the CLI and the daemon must agree on.
//!
//! Each returns the reason in words that a person can act on.

use std::collections::BTreeMap;

/// Longest file name, in bytes: the limit of Linux file systems.
pub const FILE_NAME_MAX: usize = 255;

/// An environment variable's name: `[A-Za-z_][A-Za-z0-9_]*`.
pub fn check_env_name(name: &str) -> Result<(), String> {
    let mut letters = name.chars();
    let starts_well = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if starts_well && letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(());
    }
    Err(format!(
        "{:?} is no name for an environment variable: letters, digits and _, not starting with a digit, as in API_KEY",
        shortened(name)
    ))
}

/// A plain file name: no folder, no control characters, at most 255 bytes.
pub fn check_file_name(name: &str) -> Result<(), String> {
    let wrong = if name.is_empty() {
        "is empty"
    } else if name.len() > FILE_NAME_MAX {
        "is longer than 255 bytes"
    } else if name == "." || name == ".." {
        "names a folder"
    } else if name.contains('/') {
        "holds a /; only plain names are allowed, without a folder"
    } else if name.chars().any(char::is_control) {
        "holds a control character"
    } else {
        return Ok(());
    };
    Err(format!("file name {:?} {wrong}", shortened(name)))
}

/// A label's key: 1 to 63 of letters, digits, `.`, `_`, `-` and `/`.
pub fn check_label_key(key: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    if (1..=63).contains(&key.len()) && key.chars().all(allowed) {
        return Ok(());
    }
    Err(format!("{:?} is no label key: 1 to 63 letters, digits and . _ - /, as in team", shortened(key)))
}

/// A label's value: at most 255 bytes, no control characters.
pub fn check_label_value(value: &str) -> Result<(), String> {
    if value.len() <= 255 && !value.chars().any(char::is_control) {
        return Ok(());
    }
    Err("a label's value has at most 255 bytes and no control characters".to_owned())
}

/// Labels that a worker may have, and so the most that an execution may ask for.
pub const WORKER_LABELS_MAX: usize = 8;

/// Priorities that there are.
pub const PRIORITIES: std::ops::RangeInclusive<i32> = -100..=100;

/// Labels as people write them, such as `gpu=true and zone=eu`.
pub fn labels_in_words(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" and ")
}

/// The beginning of a name that may be far too long to print.
fn shortened(name: &str) -> String {
    if name.chars().count() <= 40 {
        return name.to_owned();
    }
    name.chars().take(40).chain("…".chars()).collect()
}

/// Levenshtein's distance: how many letters tell two names apart. Of `a` the first 64 letters count.
pub fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(&b) {
            let substituted = diagonal + usize::from(letter != *other);
            diagonal = *cell;
            left = substituted.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_names_follow_the_shell() {
        for good in ["A", "_", "API_KEY", "x1"] {
            assert!(check_env_name(good).is_ok(), "{good}");
        }
        for bad in ["", "1X", "A B", "=", "A-B", "Ä", "A\n"] {
            assert!(check_env_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn file_names_stay_in_their_folder() {
        for good in ["a", "data.csv", "..a", "naïve name.txt"] {
            assert!(check_file_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../x", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(check_file_name(bad).is_err(), "{bad}");
        }
        assert!(check_file_name(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn label_keys_are_short_and_plain() {
        assert!(check_label_key("team").is_ok());
        assert!(check_label_key(&"k".repeat(64)).is_err());
        assert!(check_label_key("a b").is_err());
        assert!(check_label_value("línea").is_ok());
        assert!(check_label_value("a\nb").is_err());
    }
}
