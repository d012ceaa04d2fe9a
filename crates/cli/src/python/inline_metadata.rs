//! PEP 723: requirements in the script itself, between `# /// script` and `# ///`.

use serde::Deserialize;

/// What a script says of itself.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InlineMetadata {
    /// None: it says nothing about them.
    pub dependencies: Option<Vec<String>>,
    pub requires_python: Option<String>,
}

impl InlineMetadata {
    /// None when the script has no such block. An error says at which line.
    pub fn of(source: &str) -> Result<Option<Self>, String> {
        let lines: Vec<&str> = source.trim_start_matches('\u{feff}').lines().map(str::trim_end).collect();
        let starts: Vec<usize> =
            lines.iter().enumerate().filter(|(_, line)| **line == "# /// script").map(|(at, _)| at).collect();
        let [start] = starts.as_slice() else {
            return match starts.get(1) {
                Some(second) => {
                    Err(format!("line {}: a second `# /// script`; only one is allowed", second + 1))
                }
                None => Ok(None),
            };
        };
        let content = content(&lines, *start)?;
        toml::from_str(&content).map(Some).map_err(|error| wrong(&content, *start, &error))
    }
}

/// Up to the last closing line of the block of comments, so that a `///` within stays content.
fn content(lines: &[&str], start: usize) -> Result<String, String> {
    let block: Vec<&str> = lines
        .iter()
        .skip(start + 1)
        .copied()
        .take_while(|line| *line == "#" || line.starts_with("# "))
        .collect();
    let Some(end) = block.iter().rposition(|line| *line == "# ///") else {
        return Err(format!("line {}: `# /// script` is never closed by `# ///`", start + 1));
    };
    let plain =
        |line: &&str| line.strip_prefix("# ").or(line.strip_prefix('#')).unwrap_or_default().to_owned();
    Ok(block.iter().take(end).map(plain).collect::<Vec<_>>().join("\n"))
}

fn wrong(content: &str, start: usize, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| content.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", start + 2 + before.matches('\n').count(), error.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_and_version_are_read() {
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
        let metadata = InlineMetadata::of(source).unwrap().unwrap();
        assert_eq!(metadata.requires_python.as_deref(), Some(">=3.11"));
        assert_eq!(metadata.dependencies.unwrap(), ["requests<3", "rich"]);
        let windows = source.replace('\n', "\r\n");
        assert!(InlineMetadata::of(&windows).unwrap().unwrap().dependencies.is_some());
    }

    #[test]
    fn a_script_without_a_block_says_nothing() {
        for source in
            ["import a\n", "# /// other\n# x = 1\n# ///\n", "## /// script\n", " # /// script\n", ""]
        {
            assert_eq!(InlineMetadata::of(source), Ok(None), "{source}");
        }
        let empty = InlineMetadata::of("# /// script\n# ///\n").unwrap().unwrap();
        assert_eq!(empty, InlineMetadata::default());
    }

    #[test]
    fn a_wrong_block_is_told_by_its_line() {
        let line = |source| InlineMetadata::of(source).unwrap_err().split(':').next().unwrap().to_owned();
        assert_eq!(line("#\n# /// script\n# dependencies = []\n"), "line 2");
        assert_eq!(line("# /// script\n# a = 1\n# dependencies = 'x'\n# ///\n"), "line 3");
        assert_eq!(line("# /// script\n# a = \n# ///\n"), "line 2");
        assert_eq!(line("# /// script\n# ///\n\n# /// script\n# ///\n"), "line 4");
    }
}
