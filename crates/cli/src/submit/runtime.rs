//! Detects a script's language and chooses a runtime for it.

use std::path::Path;

use rgrid_api::{Runtime, Script};

use crate::client::Client;
use crate::error::CliError;
use crate::python::versions;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Python,
    /// Or unknown.
    Other,
}

impl Language {
    pub fn detect(runtime: Option<&str>, script: &Script) -> Self {
        let extension = Path::new(&script.name).extension();
        let is_python = match runtime {
            Some(runtime) => runtime.starts_with("python") || runtime.starts_with("3."),
            // The server's default runtime is Python.
            None => match script.content.lines().next().filter(|line| line.starts_with("#!")) {
                _ if extension.is_some() => extension.is_some_and(|extension| extension == "py"),
                Some(shebang) => shebang.contains("python"),
                None => true,
            },
        };
        if is_python { Language::Python } else { Language::Other }
    }
}

/// The file extension of a script from stdin.
pub fn extension(runtime: Option<&str>) -> &'static str {
    let runtime = runtime.unwrap_or_default();
    let extensions = [("node", "js"), ("javascript", "js"), ("ruby", "rb"), ("bash", "sh"), ("sh", "sh")];
    let found = extensions.into_iter().find(|(prefix, _)| runtime.starts_with(prefix));
    found.map_or("py", |(_, extension)| extension)
}

/// Chooses a runtime for `requires-python`: the server's default if it matches, otherwise the newest match.
pub fn choose(client: &Client, specifier: &str, script: &str) -> Result<String, CliError> {
    choose_from(&client.runtimes()?.0.items, specifier, script)
}

fn choose_from(runtimes: &[Runtime], specifier: &str, script: &str) -> Result<String, CliError> {
    let pythons: Vec<(u32, &Runtime)> =
        runtimes.iter().filter_map(|runtime| Some((versions::minor_of(&runtime.name)?, runtime))).collect();
    let mut matching = Vec::new();
    for (minor, runtime) in &pythons {
        let is_allowed = versions::allows(specifier, *minor)
            .map_err(|cause| CliError::usage(format!("{script}: requires-python: {cause}")))?;
        matching.extend(is_allowed.then_some((runtime.default, *minor, runtime)));
    }
    let best = matching.into_iter().max_by_key(|(default, minor, _)| (*default, *minor));
    best.map(|(_, _, runtime)| runtime.name.clone()).ok_or_else(|| {
        let names: Vec<&str> = pythons.iter().map(|(_, runtime)| runtime.name.as_str()).collect();
        CliError::usage(format!(
            "{script} requires Python {specifier}, but the server has {}",
            names.join(", ")
        ))
        .hint("select one of them anyway with --runtime NAME")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_depends_on_the_runtime_the_extension_and_the_first_line() {
        for (runtime, name, content, expected) in [
            (None, "a.py", "#!/bin/sh", Language::Python),
            (None, "a", "import os", Language::Python),
            (None, "a", "#!/usr/bin/env python3\n", Language::Python),
            (None, "a", "#!/bin/bash\n", Language::Other),
            (None, "a.sh", "", Language::Other),
            (Some("python:3.12"), "a.sh", "", Language::Python),
            (Some("3.9"), "a", "", Language::Python),
            (Some("node"), "a.py", "", Language::Other),
        ] {
            let script = Script { name: name.to_owned(), content: content.to_owned() };
            assert_eq!(Language::detect(runtime, &script), expected, "{runtime:?} {name} {content}");
        }
    }

    #[test]
    fn a_script_from_stdin_has_the_extension_of_its_runtime() {
        let runtimes = [None, Some("python:3.11"), Some("node:20"), Some("ruby"), Some("shell")];
        assert_eq!(runtimes.map(extension), ["py", "py", "js", "rb", "sh"]);
    }

    fn chosen(specifier: &str) -> Result<String, CliError> {
        let runtime = |name: &str| Runtime {
            name: name.to_owned(),
            image: format!("{name}-slim"),
            aliases: Vec::new(),
            extensions: Vec::new(),
            default: name == "python:3.11",
        };
        let names = ["python:3.9", "python:3.10", "python:3.11", "python:3.12", "node:20"];
        choose_from(&names.map(runtime), specifier, "s.py")
    }

    #[test]
    fn the_default_runtime_is_chosen_if_it_matches_and_otherwise_the_newest() {
        for (specifier, expected) in
            [(">=3.8", "python:3.11"), (">=3.12", "python:3.12"), ("<3.11", "python:3.10")]
        {
            assert_eq!(chosen(specifier).unwrap(), expected, "{specifier}");
        }
    }

    #[test]
    fn the_error_for_an_unavailable_version_lists_the_available_ones() {
        let error = chosen(">=3.13").unwrap_err();
        assert!(error.message.ends_with("the server has python:3.9, python:3.10, python:3.11, python:3.12"));
        assert!(chosen("3.12").unwrap_err().message.contains("requires-python"));
    }
}
