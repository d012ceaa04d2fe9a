//! What a script is written in, as far as its name and its runtime tell.

use std::path::Path;

use rgrid_api::Script;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Python,
    /// Or unknown: nothing is assumed of it.
    Other,
}

impl Language {
    pub fn guess(runtime: Option<&str>, script: &Script) -> Self {
        let ending = Path::new(&script.name).extension().and_then(|ending| ending.to_str());
        let is_python = match runtime {
            Some(runtime) => {
                let bare = runtime.trim_start_matches("python").trim_start_matches(':');
                runtime.starts_with("python") || bare.starts_with("3.")
            }
            None if ending == Some("py") => true,
            // The server's default is for what has no ending that it knows, nor a first line that names another program.
            None => ending.is_none() && is_python_or_nothing(&script.content),
        };
        if is_python { Language::Python } else { Language::Other }
    }
}

fn is_python_or_nothing(content: &str) -> bool {
    let first = content.lines().next().unwrap_or_default();
    !first.starts_with("#!") || first.contains("python")
}

/// The ending of a script that has no name: the runtime's.
pub fn ending(runtime: Option<&str>) -> &'static str {
    let runtime = runtime.unwrap_or_default();
    let endings = [("node", "js"), ("javascript", "js"), ("ruby", "rb"), ("bash", "sh"), ("sh", "sh")];
    endings.into_iter().find(|(begin, _)| runtime.starts_with(begin)).map_or("py", |(_, ending)| ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_decides_then_the_ending() {
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
            assert_eq!(Language::guess(runtime, &script), expected, "{runtime:?} {name} {content}");
        }
    }

    #[test]
    fn a_script_from_stdin_is_called_by_its_runtime() {
        let endings = [None, Some("python:3.11"), Some("node:20"), Some("ruby"), Some("shell")].map(ending);
        assert_eq!(endings, ["py", "py", "js", "rb", "sh"]);
    }
}
