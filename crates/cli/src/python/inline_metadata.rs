//! PEP 723: metadata in the script itself, between `# /// script` and `# ///`.

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
}
