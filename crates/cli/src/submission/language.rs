//! What a script is written in, as far as its name and its runtime tell.

use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Python,
    /// Or unknown: nothing is assumed of it.
    Other,
}

impl Language {
    pub fn guess(runtime: Option<&str>, script_name: &str) -> Self {
        let ending = Path::new(script_name).extension().and_then(|ending| ending.to_str());
        let is_python = match runtime {
            Some(runtime) => {
                let bare = runtime.trim_start_matches("python").trim_start_matches(':');
                runtime.starts_with("python") || bare.starts_with("3.")
            }
            // The server's default is for what has no ending that it knows.
            None => matches!(ending, None | Some("py")),
        };
        if is_python { Language::Python } else { Language::Other }
    }
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
        for (runtime, name, expected) in [
            (None, "a.py", Language::Python),
            (None, "a", Language::Python),
            (None, "a.sh", Language::Other),
            (Some("python:3.12"), "a.sh", Language::Python),
            (Some("3.9"), "a", Language::Python),
            (Some("node"), "a.py", Language::Other),
        ] {
            assert_eq!(Language::guess(runtime, name), expected, "{runtime:?} {name}");
        }
    }

    #[test]
    fn a_script_from_stdin_is_called_by_its_runtime() {
        let endings = [None, Some("python:3.11"), Some("node:20"), Some("ruby"), Some("shell")].map(ending);
        assert_eq!(endings, ["py", "py", "js", "rb", "sh"]);
    }
}
