//! Variables for the script, from `--env-file` and `--env`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::Failure;
use crate::submit::options;

/// Files first, so that `--env` wins; a later one wins over an earlier one.
pub fn of(
    files: &[PathBuf],
    given: &[(String, Option<String>)],
) -> Result<BTreeMap<String, String>, Failure> {
    let mut env = BTreeMap::new();
    for file in files {
        let text = read(file)?;
        for (name, value) in lines(&text).map_err(|wrong| in_file(file, &wrong))? {
            env.insert(name.clone(), valued(name, value).map_err(|failure| in_file(file, &failure.what))?.1);
        }
    }
    for (name, value) in given {
        let (name, value) = valued(name.clone(), value.clone())?;
        env.insert(name, value);
    }
    Ok(env)
}

fn read(file: &Path) -> Result<String, Failure> {
    let file_name = file.display();
    std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(match error.kind() {
            ErrorKind::NotFound => format!("there is no {file_name}"),
            ErrorKind::InvalidData => format!("{file_name} can't be read: it is not UTF-8"),
            _ => format!("{file_name} can't be read: {error}"),
        })
    })
}

fn in_file(file: &Path, wrong: &str) -> Failure {
    Failure::usage(format!("{}: {wrong}", file.display()))
}

/// As in docker: `KEY` alone is taken from here. Unlike there, one that is not set here is an error.
fn valued(name: String, value: Option<String>) -> Result<(String, String), Failure> {
    let value = match value {
        Some(value) => value,
        None => match std::env::var(&name) {
            Ok(value) => value,
            Err(std::env::VarError::NotPresent) => {
                let what = format!("{name} has no value, and is not set in your environment either");
                return Err(
                    Failure::usage(what).hint(format!("write {name}=value, or {name}= for an empty one"))
                );
            }
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(Failure::usage(format!("the value of {name} in your environment is not UTF-8")));
            }
        },
    };
    Ok((name, value))
}

type Line = (String, Option<String>);

/// Everything behind the first `=` is the value, quotes and `#` too, as docker reads such files.
fn lines(text: &str) -> Result<Vec<Line>, String> {
    let mut found = Vec::new();
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if !line.is_empty() && !line.starts_with('#') {
            found.push(options::variable(line).map_err(|wrong| format!("line {}: {wrong}", at + 1))?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_variable_on_each_line() {
        let text = "\u{feff}# comment\nA=1\r\n\n  B= \n   # another\nC=x=y # z\nD=\"quoted\"\n";
        let pairs: Vec<_> =
            lines(text).unwrap().into_iter().map(|(name, value)| (name, value.unwrap())).collect();
        let expected = [("A", "1"), ("B", " "), ("C", "x=y # z"), ("D", "\"quoted\"")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_wrong_line_is_told_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("my.env");
        std::fs::write(&file, "A=1\n1B=2\n").unwrap();
        let failure = of(&[file], &[]).unwrap_err();
        assert!(failure.what.contains("my.env: line 2: \"1B\""), "{failure}");
    }

    #[test]
    fn the_command_line_wins_over_files_and_later_over_earlier() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("my.env");
        std::fs::write(&file, "A=file\nB=file\n").unwrap();
        let given = |value: &str| ("A".to_owned(), Some(value.to_owned()));
        let env = of(&[file], &[given("first"), given("last")]).unwrap();
        assert_eq!((env["A"].as_str(), env["B"].as_str()), ("last", "file"));
    }

    #[test]
    fn a_name_alone_is_looked_up_here() {
        let path = of(&[], &[("PATH".to_owned(), None)]).unwrap();
        assert_eq!(path["PATH"], std::env::var("PATH").unwrap());
        let unset = of(&[], &[("RGRID_NOT_SET_ANYWHERE".to_owned(), None)]).unwrap_err();
        assert!(unset.what.contains("not set"), "{unset}");
    }
}
