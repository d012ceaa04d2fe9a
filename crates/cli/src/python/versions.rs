//! `requires-python`: which Python a script wants (PEP 440).
//!
//! A runtime is known by `3.x` alone, and its image has some patch release of it, most likely a late
//! one. So a clause counts as far as it speaks of `3.x`, and a patch release as the latest there is.

use std::cmp::Ordering;

const LATEST_PATCH: u32 = u32::MAX;

/// Whether Python 3.`minor` fits; an error names the clause that can't be read.
pub fn allows(specifier: &str, minor: u32) -> Result<bool, String> {
    let clauses = specifier.split(',').map(str::trim).filter(|clause| !clause.is_empty());
    clauses.map(Clause::read).try_fold(true, |all, clause| Ok(clause?.allows(minor) && all))
}

/// The `x` of Python `3.x` in a runtime's name: `python:3.11`, `python3.11`, `3.11`.
pub fn minor_of(runtime: &str) -> Option<u32> {
    let (before, rest) = runtime.split_once("3.")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    matches!(before, "" | "python" | "python:").then(|| digits.parse().ok()).flatten()
}

struct Clause {
    operator: &'static str,
    release: Vec<u32>,
    /// `3.11.*`
    wildcard: bool,
}

impl Clause {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no version that can be required; write it like >=3.11");
        // Longer ones first: `===` begins with `==`.
        let operators = ["===", "==", "!=", "~=", ">=", "<=", ">", "<"];
        let operator = operators.into_iter().find(|op| text.starts_with(op)).ok_or_else(wrong)?;
        let version = text.strip_prefix(operator).unwrap_or_default().trim();
        let (version, wildcard) = match version.strip_suffix(".*") {
            Some(version) => (version, true),
            None => (version, false),
        };
        let release: Vec<u32> = version.trim_start_matches('v').split('.').map_while(number).collect();
        if release.is_empty() { Err(wrong()) } else { Ok(Self { operator, release, wildcard }) }
    }

    fn allows(&self, minor: u32) -> bool {
        let runtime = [3, minor, LATEST_PATCH];
        let order = self.order(&runtime);
        match self.operator {
            "==" | "===" => self.prefix(&runtime, 2),
            // Which patch release is there is not known, so one that is not wanted is no reason.
            "!=" => (self.release.len() > 2) || !self.prefix(&runtime, 2),
            "~=" => order != Ordering::Less && self.prefix(&runtime, self.release.len().saturating_sub(1)),
            ">=" => order != Ordering::Less,
            "<=" => order != Ordering::Greater,
            ">" => order == Ordering::Greater,
            _ => order == Ordering::Less,
        }
    }

    /// Of the runtime to this clause's version, in as many numbers as that has, and two at least.
    fn order(&self, runtime: &[u32]) -> Ordering {
        let count = self.release.len().max(if self.wildcard { 1 } else { 2 });
        let wanted = self.release.iter().copied().chain(std::iter::repeat(0)).take(count);
        runtime.iter().copied().take(count).cmp(wanted)
    }

    fn prefix(&self, runtime: &[u32], most: usize) -> bool {
        self.release.iter().take(most).zip(runtime).all(|(wanted, is)| wanted == is)
    }
}

/// The digits that a part begins with: `0rc1` is 0.
fn number(part: &str) -> Option<u32> {
    let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
    part.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(specifier: &str) -> Vec<u32> {
        (9..=13).filter(|&minor| allows(specifier, minor).unwrap()).collect()
    }

    #[test]
    fn each_operator_chooses_its_versions() {
        for (specifier, expected) in [
            (">=3.11", &[11, 12, 13][..]),
            (">= 3.10, <3.12", &[10, 11]),
            ("<=3.10", &[9, 10]),
            (">3.10", &[11, 12, 13]),
            ("==3.11", &[11]),
            ("==3.11.*", &[11]),
            ("!=3.11.*", &[9, 10, 12, 13]),
            ("!=3.11.4", &[9, 10, 11, 12, 13]),
            ("~=3.12", &[12, 13]),
            ("~=3.10.2", &[10]),
            (">=3.11.4", &[11, 12, 13]),
            ("<3.11.4", &[9, 10]),
            ("==3.10.12", &[10]),
            (">=3", &[9, 10, 11, 12, 13]),
            ("<4", &[9, 10, 11, 12, 13]),
            (">=3.13.0rc1", &[13]),
            (">=2.7", &[9, 10, 11, 12, 13]),
            (">=4", &[]),
            ("", &[9, 10, 11, 12, 13]),
        ] {
            assert_eq!(allowed(specifier), expected, "{specifier}");
        }
    }

    #[test]
    fn what_is_no_requirement_is_told() {
        for bad in ["3.11", ">=", ">=x", "^3.11"] {
            assert!(allows(bad, 11).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_runtimes_name_tells_its_version() {
        let minors =
            ["python:3.11", "python3.9", "3.12", "python:3.10-slim", "python", "node:23.1"].map(minor_of);
        assert_eq!(minors, [Some(11), Some(9), Some(12), Some(10), None, None]);
    }
}
