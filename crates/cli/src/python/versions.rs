//! `requires-python`: which Python versions a script supports (PEP 440).

use std::str::FromStr;

use pep440_rs::{Operator, Version, VersionSpecifier};

/// A runtime's name contains `3.x` only. Its image is assumed to have a late patch release.
const LATE_PATCH: u64 = 999;

/// Whether a Python 3.`minor` satisfies the specifier. An error names the invalid clause.
pub fn allows(specifier: &str, minor: u32) -> Result<bool, String> {
    let clauses = specifier.split(',').map(str::trim).filter(|clause| !clause.is_empty());
    let parse = |clause: &str| {
        VersionSpecifier::from_str(clause).map_err(|error| {
            format!("invalid version specifier {clause:?}, expected one like >=3.11: {error}")
        })
    };
    let clauses: Vec<VersionSpecifier> = clauses.map(parse).collect::<Result<_, _>>()?;
    let release = [3, u64::from(minor)];
    // The image may have exactly the patch release that a clause requires.
    let is_required_patch = |clause: &&VersionSpecifier| {
        *clause.operator() == Operator::Equal
            && clause.version().release().len() > 2
            && clause.version().release().starts_with(&release)
    };
    let required = clauses.iter().filter(is_required_patch).map(|clause| clause.version().clone());
    let mut candidates = required.chain([Version::new(release.into_iter().chain([LATE_PATCH]))]);
    Ok(candidates.any(|version| clauses.iter().all(|clause| clause.contains(&version))))
}

/// The `x` of Python `3.x` in a runtime's name: `python:3.11`, `python3.11`, `3.11`.
pub fn minor_of(runtime: &str) -> Option<u32> {
    let (prefix, rest) = runtime.split_once("3.")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    matches!(prefix, "" | "python" | "python:").then(|| rest.get(..end)?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_specifier_allows_the_versions_of_pep_440() {
        for (specifier, expected) in [
            (">=3.11", &[11, 12, 13][..]),
            (">= 3.10, <3.12", &[10, 11]),
            (">=3.11,", &[11, 12, 13]),
            // 3.10.14 is later than 3.10, which means 3.10.0.
            (">3.10", &[10, 11, 12, 13]),
            ("<=3.10", &[9]),
            ("==3.11", &[]),
            ("!=3.11", &[9, 10, 11, 12, 13]),
            ("==3.11.*", &[11]),
            ("==3.*", &[9, 10, 11, 12, 13]),
            ("!=3.11.*", &[9, 10, 12, 13]),
            ("!=3.11.4", &[9, 10, 11, 12, 13]),
            ("~=3.12", &[12, 13]),
            ("~=3.10.2", &[10]),
            (">=3.11.4", &[11, 12, 13]),
            ("<3.11.4", &[9, 10]),
            ("==3.10.12", &[10]),
            ("==3.10.12, >=3.11", &[]),
            (">=3", &[9, 10, 11, 12, 13]),
            ("<4", &[9, 10, 11, 12, 13]),
            (">=3.13.0rc1", &[13]),
            (">=2.7", &[9, 10, 11, 12, 13]),
            (">=4", &[]),
            ("", &[9, 10, 11, 12, 13]),
        ] {
            let allowed: Vec<u32> = (9..=13).filter(|&minor| allows(specifier, minor).unwrap()).collect();
            assert_eq!(allowed, expected, "{specifier}");
        }
    }

    #[test]
    fn invalid_specifiers_are_errors() {
        for bad in ["3.11", ">=", ">=x", "^3.11", "~=3", ">=3.11.*"] {
            let error = allows(&format!(">=3.8, {bad}"), 11).unwrap_err();
            assert!(error.contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[test]
    fn the_minor_version_is_read_from_a_runtimes_name() {
        let runtimes = ["python:3.11", "python3.9", "3.12", "python:3.10-slim", "python", "node:23.1"];
        assert_eq!(runtimes.map(minor_of), [Some(11), Some(9), Some(12), Some(10), None, None]);
    }
}
