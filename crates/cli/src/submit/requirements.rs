//! Finds the requirements to install: from the command line, the script's metadata or a file next to it.

use std::path::Path;

use rgrid_api::Requirements;

use crate::error::{CliError, Result};
use crate::python::metadata::InlineMetadata;
use crate::submit::options::JobOptions;
use crate::submit::script::ScriptSource;

#[derive(Debug)]
pub struct JobRequirements {
    /// `None` if nothing is installed.
    pub text: Option<String>,
    /// The installed packages; `None` if a package's name is not known.
    pub packages: Option<Vec<String>>,
    /// Where to add another requirement; `None` if nothing should be installed.
    pub place: Option<String>,
    /// `requires-python` of the script's inline metadata.
    pub python: Option<String>,
}

impl JobRequirements {
    /// The command line overrides the script's metadata, which overrides the file next to the script.
    pub fn find(options: &JobOptions, source: &ScriptSource, is_python: bool) -> Result<Self> {
        let metadata = if is_python { InlineMetadata::parse(&source.script.content) } else { Ok(None) }
            .map_err(|cause| CliError::usage(format!("{}: {cause}", source.script.name)))?;
        let InlineMetadata { dependencies, requires_python } = metadata.unwrap_or_default();
        let (text, place) = match (&options.requirements, dependencies, &source.folder) {
            _ if options.no_requirements => (String::new(), None),
            (Some(path), _, _) => (read(path)?, Some(path.display().to_string())),
            (None, Some(dependencies), _) => {
                (dependencies.join("\n"), Some("the `# /// script` dependencies".to_owned()))
            }
            (None, None, Some(folder)) if is_python => {
                let path = folder.join("requirements.txt");
                let text = if path.exists() { read(&path)? } else { String::new() };
                (text, Some("requirements.txt".to_owned()))
            }
            // The file next to a script in another language does not belong to it.
            (None, None, Some(_)) => (String::new(), None),
            (None, None, None) => (String::new(), Some("a file for --requirements".to_owned())),
        };
        let parsed = Requirements::parse(&text).map_err(|errors| {
            let place = place.as_deref().unwrap_or_default();
            CliError { details: errors, ..CliError::usage(format!("invalid requirements in {place}:")) }
        })?;
        let packages = parsed.as_ref().map_or(Some(Vec::new()), Requirements::package_names);
        Ok(Self { text: parsed.map(|_| text), packages, place, python: requires_python })
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| CliError::unreadable(path, &error).hint("ignore it with --no-requirements"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rgrid_api::Script;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: JobOptions,
    }

    fn find(arguments: &[&str], content: &str, file: &str, is_python: bool) -> Result<JobRequirements> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("requirements.txt"), file).unwrap();
        let script = Script { name: "s.py".to_owned(), content: content.to_owned() };
        let source = ScriptSource { script, path: None, folder: Some(folder.path().to_owned()) };
        let line = Line::parse_from(std::iter::once(&"rgrid").chain(arguments));
        JobRequirements::find(&line.options, &source, is_python)
    }

    const INLINE: &str =
        "# /// script\n# dependencies = [\"inline\"]\n# requires-python = \">=3.11\"\n# ///\n";

    #[test]
    fn options_override_the_metadata_which_overrides_the_file() {
        let given = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(given.path(), "given").unwrap();
        for (arguments, content, is_python, expected) in [
            (&[][..], "x", true, Some("file")),
            (&[], INLINE, true, Some("inline")),
            (&[], INLINE, false, None),
            (&["--no-requirements"], INLINE, true, None),
            (&["--requirements", given.path().to_str().unwrap()], INLINE, true, Some("given")),
        ] {
            let found = find(arguments, content, "file", is_python).unwrap();
            assert_eq!(found.text.as_deref(), expected, "{arguments:?}");
        }
    }

    #[test]
    fn a_file_of_comments_installs_nothing() {
        assert_eq!(find(&[], "x", "# nothing yet\n\n", true).unwrap().text, None);
    }

    #[test]
    fn the_required_python_is_known_even_if_nothing_is_installed() {
        let found = find(&["--no-requirements"], INLINE, "", true).unwrap();
        assert_eq!((found.python.as_deref(), found.place), (Some(">=3.11"), None));
    }

    #[test]
    fn invalid_requirements_are_reported_with_their_lines() {
        let error = find(&[], "x", "flask\n-r base.txt", true).unwrap_err();
        assert_eq!(error.message, "invalid requirements in requirements.txt:");
        assert!(error.details[0].starts_with("line 2: -r refers to a file"), "{:?}", error.details);
    }
}
