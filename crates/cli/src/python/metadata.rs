//! What a script requires: its inline metadata (PEP 723) and the Python versions that it supports (PEP 440).

use std::str::FromStr;

use pep440_rs::{Operator, Version, VersionSpecifier};
use serde::Deserialize;

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InlineMetadata {
    /// `None` if the script does not declare any.
    pub dependencies: Option<Vec<String>>,
    pub requires_python: Option<String>,
}

impl InlineMetadata {
    /// Returns `None` if the script has no such block. An error contains the line number.
    pub fn parse(source: &str) -> Result<Option<Self>, String> {
        let lines: Vec<&str> = source.trim_start_matches('\u{feff}').lines().map(str::trim_end).collect();
        let starts: Vec<usize> =
            lines.iter().enumerate().filter(|(_, line)| **line == "# /// script").map(|(at, _)| at).collect();
        let [start] = starts.as_slice() else {
            return match starts.get(1) {
                Some(second) => Err(format!("line {}: only one `# /// script` block is allowed", second + 1)),
                None => Ok(None),
            };
        };
        let content = block_content(&lines, *start)?;
        toml::from_str(&content).map(Some).map_err(|error| parse_error(&content, *start, &error))
    }
}

/// The block extends to the last `# ///` of the comment, so that it may contain others.
fn block_content(lines: &[&str], start: usize) -> Result<String, String> {
    let block: Vec<&str> = lines
        .iter()
        .skip(start + 1)
        .copied()
        .take_while(|line| *line == "#" || line.starts_with("# "))
        .collect();
    let Some(end) = block.iter().rposition(|line| *line == "# ///") else {
        return Err(format!("line {}: the `# /// script` block is not closed with `# ///`", start + 1));
    };
    let plain =
        |line: &&str| line.strip_prefix("# ").or(line.strip_prefix('#')).unwrap_or_default().to_owned();
    Ok(block.iter().take(end).map(plain).collect::<Vec<_>>().join("\n"))
}

fn parse_error(content: &str, start: usize, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| content.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", start + 2 + before.matches('\n').count(), error.message())
}

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
    fn dependencies_and_the_python_version_are_read() {
        let source = "\
#!/usr/bin/env python3
# /// script
# requires-python = \">=3.11\"
# dependencies = [
#   \"requests<3\",
#
#   'rich',  # with a comment
# ]
# [tool.uv]
# exclude-newer = \"2025-01-01T00:00:00Z\"
# ///
import requests
    ";
        let metadata = InlineMetadata::parse(source).unwrap().unwrap();
        assert_eq!(metadata.requires_python.as_deref(), Some(">=3.11"));
        assert_eq!(metadata.dependencies.unwrap(), ["requests<3", "rich"]);
        let windows = source.replace('\n', "\r\n");
        assert!(InlineMetadata::parse(&windows).unwrap().unwrap().dependencies.is_some());
    }

    #[test]
    fn a_script_without_a_block_has_no_metadata() {
        for source in
            ["import a\n", "# /// other\n# x = 1\n# ///\n", "## /// script\n", " # /// script\n", ""]
        {
            assert_eq!(InlineMetadata::parse(source), Ok(None), "{source}");
        }
        let empty = InlineMetadata::parse("# /// script\n# ///\n").unwrap().unwrap();
        assert_eq!(empty, InlineMetadata::default());
    }

    #[test]
    fn an_invalid_block_is_reported_with_its_line() {
        let line = |source| InlineMetadata::parse(source).unwrap_err().split(':').next().unwrap().to_owned();
        assert_eq!(line("#\n# /// script\n# dependencies = []\n"), "line 2");
        assert_eq!(line("# /// script\n# a = 1\n# dependencies = 'x'\n# ///\n"), "line 3");
        assert_eq!(line("# /// script\n# a = \n# ///\n"), "line 2");
        assert_eq!(line("# /// script\n# ///\n\n# /// script\n# ///\n"), "line 4");
    }

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
