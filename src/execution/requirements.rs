//! What a script needs from a package index, in the form that pip reads.

use std::fmt;

/// Options that may stand in a line of their own. Those that name files are missing: only the text is sent.
const OPTIONS: [&str; 12] = [
    "-i",
    "--index-url",
    "--extra-index-url",
    "--no-index",
    "-f",
    "--find-links",
    "--no-binary",
    "--only-binary",
    "--prefer-binary",
    "--pre",
    "--require-hashes",
    "--trusted-host",
];

/// Requirements that name nothing outside of themselves but indexes and URLs. Comments, empty lines, line
/// continuations and superfluous spaces are gone, so texts that mean the same are mostly the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Requirements(String);

impl Requirements {
    /// None when there is nothing to install; else what is wrong, a sentence for each line.
    pub fn parse(text: &str) -> Result<Option<Self>, Vec<String>> {
        let lines = logical_lines(text);
        let mistakes: Vec<String> = lines
            .iter()
            .filter_map(|(number, line)| Some(format!("line {number}: {}", mistake(line)?)))
            .collect();
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        // Options alone install nothing.
        if lines.iter().all(|(_, line)| line.starts_with('-')) {
            return Ok(None);
        }
        let mut normal: String = lines.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n");
        normal.push('\n');
        Ok(Some(Self(normal)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// An index URL may hold a password.
impl fmt::Debug for Requirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Requirements ({} lines)", self.0.lines().count())
    }
}

/// Lines as pip sees them, each with the number of the line where it begins.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, raw) in (1..).zip(text.lines()) {
        let comment = raw.trim_start().starts_with('#');
        let (begin, mut line) = open.take().unwrap_or((number, String::new()));
        match raw.strip_suffix('\\') {
            Some(first) if !comment => {
                line.push_str(first);
                open = Some((begin, line));
                continue;
            }
            // The space makes it a comment also behind the lines that it continues.
            _ if comment => line.push(' '),
            _ => {}
        }
        line.push_str(raw);
        lines.push((begin, line));
    }
    lines.extend(open);
    let tidy = |(number, line): (usize, String)| (number, without_comment(&line));
    lines.into_iter().map(tidy).filter(|(_, line)| !line.is_empty()).collect()
}

/// A `#` begins a comment at the line's begin and behind a space; URLs may hold others.
fn without_comment(line: &str) -> String {
    let words = line.split([' ', '\t']).take_while(|word| !word.starts_with('#'));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn mistake(line: &str) -> Option<String> {
    let first = line.split(' ').next().unwrap_or_default();
    // Python breaks lines at more characters than Rust does.
    if line.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Some("holds a control character".to_owned());
    }
    if line.contains("file:") {
        return Some(not_sent(line));
    }
    if first.starts_with('-') {
        return line.split(' ').map(|word| word.trim_matches(['"', '\''])).find_map(wrong_option);
    }
    names_a_path(first, line).then(|| not_sent(first))
}

fn wrong_option(word: &str) -> Option<String> {
    let name = word.split('=').next().unwrap_or_default();
    let attached = |short: &str| name.starts_with(short) && !name.starts_with("--");
    let fine = !name.starts_with('-') || OPTIONS.contains(&name) || attached("-i") || attached("-f");
    if fine {
        return None;
    }
    let files = ["--requirement", "--constraint", "--editable"];
    if files.contains(&name) || ["-r", "-c", "-e"].iter().any(|short| attached(short)) {
        return Some(not_sent(name));
    }
    Some(format!("the option {} may not stand here; these may: {}", shown(name), OPTIONS.join(", ")))
}

/// A folder or an archive, where pip takes one for granted.
fn names_a_path(first: &str, line: &str) -> bool {
    let archive = [".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"];
    let bare = first.split(['[', ';']).next().unwrap_or_default();
    let local = bare.contains('/') || archive.iter().any(|ending| bare.ends_with(ending));
    bare.starts_with(['.', '~', '/']) || (local && !line.contains("://"))
}

fn not_sent(what: &str) -> String {
    format!(
        "{} names a file, and only the text of the requirements is sent; write out what the file holds, or give \
         a version or a URL",
        shown(what)
    )
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        Requirements::parse(text).unwrap().unwrap().as_str().to_owned()
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        let texts = ["six==1.16.0\n", "# all we need\r\n\r\n  six==1.16.0   # pinned\r\n", "six==1.16.0"];
        for text in texts {
            assert_eq!(parsed(text), "six==1.16.0\n", "{text:?}");
        }
        assert_ne!(parsed("six==1.16.0"), parsed("six==1.15.0"));
    }

    #[test]
    fn continued_lines_become_one() {
        let text = "six==1.16.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\npip\n";
        assert_eq!(parsed(text), "six==1.16.0 --hash=sha256:aa --hash=sha256:bb\npip\n");
        assert_eq!(parsed("six \\\n# why\niniconfig"), "six\niniconfig\n");
    }

    #[test]
    fn what_pips_users_expect_is_taken() {
        for line in [
            "--index-url https://pypi.example/simple\nsix",
            "--extra-index-url=https://a.example --trusted-host a.example\nsix",
            "-ihttps://pypi.example/simple\nsix",
            "--require-hashes\nsix==1.16.0 --hash=sha256:8abb",
            "--no-binary :all:\nsix",
            "six @ https://files.example/six-1.16.0-py2.py3-none-any.whl#sha256=8abb",
            "https://files.example/six-1.16.0.tar.gz",
            "git+https://code.example/six.git@main#egg=six",
            "requests[socks]>=2,<3 ; python_version >= '3.9'",
        ] {
            assert!(Requirements::parse(line).unwrap().is_some(), "{line}");
        }
    }

    #[test]
    fn what_names_a_file_is_refused_with_its_line() {
        for line in [
            "-r other.txt",
            "-rother.txt",
            "--requirement=other.txt",
            "-c limits.txt",
            "-e .",
            "--editable git+https://code.example/six.git",
            "./six",
            "/etc/passwd",
            "~/six",
            "vendor/six",
            "six-1.16.0-py2.py3-none-any.whl",
            "six @ file:///six",
            "--find-links file:///wheels",
            "--pre -r other.txt",
            "--pre \"-r\" other.txt",
        ] {
            let wrong = Requirements::parse(&format!("six\n{line}")).unwrap_err();
            assert!(
                wrong[0].starts_with("line 2: ") && wrong[0].contains("names a file"),
                "{line}: {wrong:?}"
            );
        }
    }

    #[test]
    fn an_option_that_may_not_stand_there_is_told_with_those_that_may() {
        let wrong = Requirements::parse("--target /usr\nsix\n--req x").unwrap_err();
        assert_eq!(wrong.len(), 2);
        assert!(wrong[0].contains("--target may not") && wrong[0].contains("--index-url"), "{wrong:?}");
        assert!(wrong[1].starts_with("line 3: the option --req may not"), "{wrong:?}");
    }

    #[test]
    fn a_line_break_that_only_python_sees_is_refused() {
        for separator in ['\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\r'] {
            assert!(Requirements::parse(&format!("six{separator}-r x")).is_err(), "{separator:?}");
        }
    }

    #[test]
    fn nothing_to_install_is_nothing() {
        for text in ["", "\n \n", "# later\n", "--index-url https://pypi.example/simple\n"] {
            assert_eq!(Requirements::parse(text), Ok(None), "{text:?}");
        }
    }
}
