//! Python requirements in pip's format, as the CLI and the daemon read them.

use derive_more::Debug;

/// Options allowed on a line of their own. Options that name a file are missing: only the text is sent.
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

/// Requirements that refer to packages, indexes and URLs only, one per line. Comments, empty lines, line
/// continuations and extra spaces are removed, so that equivalent texts share one environment.
/// Debug output hides the text, because an index URL may contain a password.
#[derive(Debug, Clone, PartialEq, Eq)]
#[debug("Requirements ({} lines)", _0.lines().count())]
pub struct Requirements(String);

impl Requirements {
    /// Returns `None` if there is nothing to install, and one message per invalid line on failure.
    pub fn parse(text: &str) -> Result<Option<Self>, Vec<String>> {
        let lines = logical_lines(text);
        let errors: Vec<String> = lines
            .iter()
            .filter_map(|(number, line)| Some(format!("line {number}: {}", check(line).err()?)))
            .collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        // Options alone install nothing.
        if lines.iter().all(|(_, line)| line.starts_with('-')) {
            return Ok(None);
        }
        Ok(Some(Self(lines.into_iter().map(|(_, line)| line + "\n").collect())))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The normalized names of the packages, or `None` if a URL does not reveal the name of its package.
    pub fn package_names(&self) -> Option<Vec<String>> {
        let lines = self.0.lines().filter(|line| !line.starts_with('-'));
        lines.map(|line| package_name(line).map(normalize_name)).collect()
    }
}

/// PEP 503: `Foo._bar` and `foo-bar` are the same package.
pub fn normalize_name(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// Lines as pip joins them, each with the number of its first physical line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut continued: Option<(usize, String)> = None;
    for (number, raw) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let is_comment = raw.trim_start().starts_with('#');
        let (start, mut line) = continued.take().unwrap_or((number, String::new()));
        match raw.strip_suffix('\\') {
            Some(begin) if !is_comment => {
                line.push_str(begin);
                continued = Some((start, line));
                continue;
            }
            // Without the space, the `#` would continue the word before it instead of starting a comment.
            _ if is_comment => line.push(' '),
            _ => {}
        }
        line.push_str(raw);
        lines.push((start, line));
    }
    lines.extend(continued);
    let clean = |(number, line): (usize, String)| (number, without_comment(&line));
    lines.into_iter().map(clean).filter(|(_, line)| !line.is_empty()).collect()
}

/// A `#` starts a comment only at the beginning of a line or after a space; URLs may contain others.
fn without_comment(line: &str) -> String {
    let words = line.split([' ', '\t']).take_while(|word| !word.starts_with('#'));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn check(line: &str) -> Result<(), String> {
    // Python splits lines at more characters than Rust does.
    if line.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err("contains a control character".to_owned());
    }
    if let Some(variable) = variable(line) {
        let message = "is a variable, and variables are not supported; insert its value";
        return Err(format!("{} {message}", shorten(variable)));
    }
    if line.contains("file:") {
        return Err(refers_to_a_file(line));
    }
    if line.starts_with('-') {
        return line.split(' ').try_for_each(|word| check_option(word.trim_matches(['"', '\''])));
    }
    let first = line.split(' ').next().unwrap_or_default();
    if is_path(first, line) { Err(refers_to_a_file(first)) } else { Ok(()) }
}

/// pip would insert a variable of the builder, and the server's index password is one of them.
fn variable(line: &str) -> Option<&str> {
    let rest = line.get(line.find("${")?..)?;
    rest.get(..=rest.find('}')?)
}

fn check_option(word: &str) -> Result<(), String> {
    let name = word.split('=').next().unwrap_or_default();
    // pip accepts `-rfile` as well as `-r file`.
    let is_short =
        |options: &[&str]| !name.starts_with("--") && options.iter().any(|option| name.starts_with(option));
    if !name.starts_with('-') || OPTIONS.contains(&name) || is_short(&["-i", "-f"]) {
        return Ok(());
    }
    if matches!(name, "--requirement" | "--constraint" | "--editable") || is_short(&["-r", "-c", "-e"]) {
        return Err(refers_to_a_file(name));
    }
    Err(format!("the option {} is not supported; supported options: {}", shorten(name), OPTIONS.join(", ")))
}

/// Whether pip would read `first` as a local directory or archive.
fn is_path(first: &str, line: &str) -> bool {
    let archives = [".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"];
    let bare = first.split(['[', ';']).next().unwrap_or_default();
    let is_local = bare.contains('/') || archives.iter().any(|suffix| bare.ends_with(suffix));
    bare.starts_with(['.', '~', '/']) || (is_local && !line.contains("://"))
}

fn refers_to_a_file(what: &str) -> String {
    format!(
        "{} refers to a file, but only the text of the requirements is sent; insert the content of that file, or \
         use a version or a URL",
        shorten(what)
    )
}

fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

/// The name in `name[extra]>=1; marker`, `name @ url` or `url#egg=name`.
fn package_name(line: &str) -> Option<&str> {
    if let Some((_, egg)) = line.split_once("#egg=") {
        return egg.split(['&', '[', ' ']).next();
    }
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')));
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    (!name.is_empty() && !rest.starts_with("://") && !rest.starts_with('+')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Requirements {
        Requirements::parse(text).unwrap().unwrap()
    }

    #[test]
    fn equivalent_texts_have_the_same_canonical_form() {
        let texts = [
            "six==1.16.0\n",
            "# all we need\r\n\r\n  six==1.16.0   # pinned\r\n",
            "six==1.16.0",
            "\u{feff}six==1.16.0",
        ];
        for text in texts {
            assert_eq!(parsed(text).as_str(), "six==1.16.0\n", "{text:?}");
        }
        assert_ne!(parsed("six==1.16.0"), parsed("six==1.15.0"));
    }

    #[test]
    fn continued_lines_are_joined() {
        let text = "six==1.16.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\npip\n";
        assert_eq!(parsed(text).as_str(), "six==1.16.0 --hash=sha256:aa --hash=sha256:bb\npip\n");
        assert_eq!(parsed("six \\\n# why\niniconfig").as_str(), "six\niniconfig\n");
    }

    #[test]
    fn common_pip_syntax_is_accepted() {
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
    fn references_to_local_files_are_rejected_with_their_line_number() {
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
            let errors = Requirements::parse(&format!("six\n{line}")).unwrap_err();
            assert!(
                errors[0].starts_with("line 2: ") && errors[0].contains("refers to a file"),
                "{line}: {errors:?}"
            );
        }
    }

    #[test]
    fn variables_are_rejected_by_name() {
        for line in [
            "six @ http://example.org/${PIP_INDEX_URL}",
            "--index-url https://${PIP_INDEX_URL}@example.org/",
            "six \\\n    --hash=sha256:${PIP_INDEX_URL}",
            "${PIP_INDEX_URL}",
        ] {
            let errors = Requirements::parse(&format!("six\n{line}")).unwrap_err();
            assert!(errors[0].starts_with("line 2: ${PIP_INDEX_URL} is a variable"), "{line}: {errors:?}");
        }
        for line in ["six # ${HOME}", "six @ https://example.org/$HOME/{x}", "six @ https://example.org/${x"]
        {
            assert!(Requirements::parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn the_error_for_an_unsupported_option_lists_the_supported_ones() {
        let errors = Requirements::parse("--target /usr\nsix\n--req x").unwrap_err();
        assert_eq!(errors.len(), 2);
        assert!(errors[0].contains("--target is not supported") && errors[0].contains("--index-url"));
        assert!(errors[1].starts_with("line 3: the option --req is not supported"), "{errors:?}");
    }

    #[test]
    fn line_breaks_that_only_python_recognizes_are_rejected() {
        for separator in ['\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\r'] {
            assert!(Requirements::parse(&format!("six{separator}-r x")).is_err(), "{separator:?}");
        }
    }

    #[test]
    fn comments_and_options_alone_install_nothing() {
        for text in ["", "\n \n", "# later\n", "--index-url https://pypi.example/simple\n"] {
            assert_eq!(Requirements::parse(text), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn package_names_are_read_from_every_form_of_a_requirement() {
        for (line, expected) in [
            ("requests==2.32.3  # with a reason", Some("requests")),
            ("PyYAML [extra] >= 6 ; python_version > '3.8'", Some("pyyaml")),
            ("black@ https://example.org/black.zip", Some("black")),
            ("zope.interface~=5.0 \\\n    --hash=sha256:abc", Some("zope-interface")),
            ("git+https://example.org/x.git#egg=Some_Thing", Some("some-thing")),
            ("https://example.org/a.tar.gz", None),
            ("git+ssh://x/y", None),
        ] {
            let expected = expected.map(|name| vec![name.to_owned()]);
            assert_eq!(parsed(&format!("--pre\n{line}")).package_names(), expected, "{line}");
        }
    }

    #[test]
    fn names_are_normalized_as_pip_does() {
        assert_eq!(["Foo._-bar", "PyYAML"].map(normalize_name), ["foo-bar", "pyyaml"]);
    }
}
