//! What a list of requirements names, as far as it can be known without pip.

use crate::python::distributions::normalised;

/// What is going to be installed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Required {
    /// Normalised.
    names: Vec<String>,
    /// Something is installed of which the name is not known: it may provide anything.
    unknown: bool,
    /// Lines that speak of a file or folder which does not go along.
    pub elsewhere: Vec<String>,
}

impl Required {
    /// Of the text of a `requirements.txt`, or of dependencies, one a line.
    pub fn of(text: &str) -> Self {
        let mut required = Self::default();
        for line in logical_lines(text) {
            required.take(&line);
        }
        required
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.unknown && self.elsewhere.is_empty()
    }

    pub(crate) fn may_provide(&self, distributions: &[String]) -> bool {
        self.unknown || distributions.iter().any(|name| self.names.contains(&normalised(name)))
    }

    fn take(&mut self, line: &str) {
        let option = line.split([' ', '=']).next().unwrap_or_default();
        if matches!(option, "-r" | "-c" | "-e" | "--requirement" | "--constraint" | "--editable")
            || line.starts_with("./")
            || line.starts_with("../")
            || line.starts_with('/')
        {
            self.unknown = true;
            self.elsewhere.push(line.to_owned());
        } else if line.starts_with('-') {
            // Where to look for packages, and how.
        } else if let Some(name) = name(line) {
            self.names.push(normalised(&name));
        } else {
            self.unknown = true;
        }
    }
}

/// Without comments, with continued lines joined.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = without_comment(line);
        match line.strip_suffix('\\') {
            Some(begun) => open.push_str(begun),
            None => lines.push(std::mem::take(&mut open) + line),
        }
    }
    lines.push(open);
    lines.into_iter().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// As for pip, a `#` begins one at the line's start or behind a space.
fn without_comment(line: &str) -> &str {
    let begins = |&(at, _): &(usize, &str)| {
        line.get(..at).is_some_and(|before| before.is_empty() || before.ends_with([' ', '\t']))
    };
    match line.match_indices('#').find(begins) {
        Some((at, _)) => line.get(..at).unwrap_or(line),
        None => line,
    }
}

/// `name[extra]>=1; marker`, `name @ url`, or what a URL says of it.
fn name(line: &str) -> Option<String> {
    if let Some((_, egg)) = line.split_once("#egg=") {
        return Some(egg.split(['&', '[', ' ']).next()?.to_owned());
    }
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')));
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let is_url = rest.starts_with("://") || rest.starts_with('+') || rest.starts_with('/');
    (!name.is_empty() && !is_url && !name.ends_with(".whl")).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        Required::of(text).names
    }

    #[test]
    fn each_way_to_name_a_distribution_is_read() {
        let text = "\
# a comment
requests==2.32.3  # with a reason
PyYAML [extra] >= 6 ; python_version > '3.8'
numpy
black@ https://example.org/black.zip
zope.interface~=5.0 \\
    --hash=sha256:abc
git+https://example.org/x.git#egg=Some_Thing
--index-url https://example.org/simple
";
        let expected = ["requests", "pyyaml", "numpy", "black", "zope-interface", "some-thing"];
        assert_eq!(names(text), expected);
        assert!(!Required::of(text).unknown);
    }

    #[test]
    fn what_has_no_name_may_provide_anything() {
        for text in ["https://example.org/a.tar.gz", "git+ssh://x/y", "./local", "-r base.txt", "a-1-py3.whl"]
        {
            assert!(Required::of(text).may_provide(&["anything".to_owned()]), "{text}");
        }
    }

    #[test]
    fn files_that_stay_at_home_are_told() {
        assert_eq!(Required::of("-r base.txt\n-e .\nflask").elsewhere, ["-r base.txt", "-e ."]);
        assert!(Required::of("# nothing\n\n   \n").is_empty());
    }
}
