//! What is installed before the script: asked for, told by the script itself, or lying beside it.

use std::path::Path;

use crate::error::Failure;
use crate::python::inline_metadata::InlineMetadata;
use crate::python::requirements::Required;
use crate::submit::language::Language;
use crate::submit::options::JobOptions;
use crate::submit::script::Source;

#[derive(Debug, Default)]
pub struct Requirements {
    /// None: nothing is installed.
    pub text: Option<String>,
    pub required: Required,
    /// Where one more belongs; none when nothing was to be installed.
    pub place: Option<String>,
    /// `requires-python` of the script's inline metadata.
    pub python: Option<String>,
    pub hints: Vec<String>,
}

impl Requirements {
    pub fn find(options: &JobOptions, source: &Source, language: Language) -> Result<Self, Failure> {
        let metadata = match language {
            Language::Python => InlineMetadata::of(&source.script.content)
                .map_err(|wrong| Failure::usage(format!("{}: {wrong}", source.script.name)))?,
            Language::Other => None,
        };
        let metadata = metadata.unwrap_or_default();
        let found = Self::choose(options, source, language, metadata.dependencies)?;
        Ok(Self { python: metadata.requires_python, ..found })
    }

    /// The nearest word wins: the command line, then the script, then what lies beside it.
    fn choose(
        options: &JobOptions,
        source: &Source,
        language: Language,
        inline: Option<Vec<String>>,
    ) -> Result<Self, Failure> {
        if options.no_requirements {
            return Ok(Self::default());
        }
        if let Some(path) = &options.requirements {
            let text =
                read(path)?.ok_or_else(|| Failure::usage(format!("there is no {}", path.display())))?;
            return Ok(Self::of(text, path.display().to_string()));
        }
        if let Some(dependencies) = inline {
            return Ok(Self::of(dependencies.join("\n"), "its `# /// script` dependencies".to_owned()));
        }
        match (&source.folder, language) {
            (Some(folder), Language::Python) => {
                let text = read(&folder.join("requirements.txt"))?.unwrap_or_default();
                Ok(Self::of(text, "requirements.txt".to_owned()))
            }
            // A file beside a script in another language is not its own.
            (Some(_), Language::Other) => Ok(Self::default()),
            (None, _) => Ok(Self::of(String::new(), "a file for --requirements".to_owned())),
        }
    }

    fn of(text: String, place: String) -> Self {
        let required = Required::of(&text);
        let elsewhere = |line: &String| {
            format!(
                "`{line}` in {place} names something that does not go along; write out what it stands for"
            )
        };
        let hints = required.elsewhere.iter().map(elsewhere).collect();
        let text = Some(text).filter(|_| !required.is_empty());
        Self { text, required, place: Some(place), python: None, hints }
    }
}

/// None when there is no such file.
fn read(path: &Path) -> Result<Option<String>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let why = match error.kind() {
                std::io::ErrorKind::InvalidData => "it is not UTF-8".to_owned(),
                _ => error.to_string(),
            };
            let what = format!("{} can't be read: {why}", path.display());
            Err(Failure::usage(what).hint("--no-requirements runs the script without it"))
        }
    }
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

    fn found(arguments: &[&str], content: &str, beside: &str, language: Language) -> Requirements {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("requirements.txt"), beside).unwrap();
        let script = Script { name: "s.py".to_owned(), content: content.to_owned() };
        let source = Source { script, path: None, folder: Some(folder.path().to_owned()) };
        let line = Line::parse_from(std::iter::once(&"rgrid").chain(arguments));
        Requirements::find(&line.options, &source, language).unwrap()
    }

    const INLINE: &str =
        "# /// script\n# dependencies = [\"inline\"]\n# requires-python = \">=3.11\"\n# ///\n";

    #[test]
    fn the_nearest_word_wins() {
        let text = |arguments: &[&str], content| {
            found(arguments, content, "beside", Language::Python).text.unwrap_or_default()
        };
        assert_eq!(text(&[], "x"), "beside");
        assert_eq!(text(&[], INLINE), "inline");
        assert_eq!(text(&["--no-requirements"], INLINE), "");
        let given = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(given.path(), "given").unwrap();
        assert_eq!(text(&["--requirements", given.path().to_str().unwrap()], INLINE), "given");
    }

    #[test]
    fn a_file_of_comments_installs_nothing() {
        assert_eq!(found(&[], "x", "# nothing yet\n\n", Language::Python).text, None);
    }

    #[test]
    fn another_language_does_not_take_what_lies_beside() {
        assert_eq!(found(&[], INLINE, "beside", Language::Other).text, None);
    }

    #[test]
    fn the_wanted_python_is_told_even_when_nothing_is_installed() {
        let found = found(&["--no-requirements"], INLINE, "", Language::Python);
        assert_eq!((found.python.as_deref(), found.place), (Some(">=3.11"), None));
    }

    #[test]
    fn what_does_not_go_along_gets_a_hint() {
        let hints = found(&[], "x", "-r base.txt\nflask", Language::Python).hints;
        assert!(hints.len() == 1 && hints[0].starts_with("`-r base.txt` in requirements.txt"), "{hints:?}");
    }
}
