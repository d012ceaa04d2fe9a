//! The script's environment variables: `--env-file`, `--env` and `--secret`.

use std::collections::BTreeMap;
use std::env::VarError;
use std::io::{self, ErrorKind, IsTerminal};
use std::path::PathBuf;

use crate::error::CliError;
use crate::exit_code::Exit;
use crate::submit::options::parse_variable;

/// `--env` overrides files, and later values override earlier ones.
pub fn read_env(
    files: &[PathBuf],
    options: &[(String, Option<String>)],
) -> Result<BTreeMap<String, String>, CliError> {
    let mut env = BTreeMap::new();
    for file in files {
        let invalid = |cause: &str| CliError::usage(format!("{}: {cause}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| CliError::unreadable(file, &error))?;
        for (name, value) in parse_env_file(&text).map_err(|cause| invalid(&cause))? {
            let value = resolve(&name, value).map_err(|error| invalid(&error.message))?;
            env.insert(name, value);
        }
    }
    for (name, value) in options {
        env.insert(name.clone(), resolve(name, value.clone())?);
    }
    Ok(env)
}

/// As with docker, `KEY` alone takes the value from the caller's environment. Unlike there, a variable that is
/// not set is an error.
fn resolve(name: &str, value: Option<String>) -> Result<String, CliError> {
    match value.map_or_else(|| std::env::var(name), Ok) {
        Ok(value) => Ok(value),
        Err(VarError::NotPresent) => {
            let message = format!("{name} has no value and is not set in your environment");
            Err(CliError::usage(message).hint(format!("use {name}=value, or {name}= for an empty value")))
        }
        Err(VarError::NotUnicode(_)) => {
            Err(CliError::usage(format!("the value of {name} in your environment is not UTF-8")))
        }
    }
}

/// Everything after the first `=` is the value, including quotes and `#`, as in docker's env files.
fn parse_env_file(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let lines = (1..).zip(text.trim_start_matches('\u{feff}').lines().map(str::trim_start));
    let variables = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    variables
        .map(|(number, line)| parse_variable(line).map_err(|cause| format!("line {number}: {cause}")))
        .collect()
}

/// Takes each value from the caller's environment, or asks for it without showing it.
pub fn read_secrets(
    names: &[String],
    env: &[(String, Option<String>)],
) -> Result<BTreeMap<String, String>, CliError> {
    let mut secrets = BTreeMap::new();
    for name in names {
        if env.iter().any(|(other, _)| other == name) {
            return Err(CliError::usage(format!(
                "{name} is set with both --env and --secret; use one of them"
            )));
        }
        secrets.insert(name.clone(), read_secret(name)?);
    }
    Ok(secrets)
}

fn read_secret(name: &str) -> Result<String, CliError> {
    let missing = || {
        let message =
            format!("the secret {name} is not set in your environment, and there is no terminal to ask on");
        let hint =
            format!("set it without leaving it in the shell history: `read -rs {name}; export {name}`");
        CliError::usage(message).hint(hint)
    };
    match std::env::var(name) {
        Ok(value) => Ok(value),
        Err(VarError::NotUnicode(_)) => {
            Err(CliError::usage(format!("the value of the secret {name} is not UTF-8")))
        }
        // Stdin may be the script, so the terminal itself is asked.
        Err(VarError::NotPresent) if io::stderr().is_terminal() => {
            rpassword::prompt_password(format!("{name}: ")).map_err(|error| match error.kind() {
                ErrorKind::Interrupted => CliError::new(Exit::Interrupted, "nothing was submitted"),
                _ => missing(),
            })
        }
        Err(VarError::NotPresent) => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_env_file_has_one_variable_per_line() {
        let text = "\u{feff}# comment\nA=1\r\n\n  B= \n   # another\nC=x=y # z\nD=\"quoted\"\n";
        let variables = parse_env_file(text).unwrap();
        let expected = [("A", "1"), ("B", " "), ("C", "x=y # z"), ("D", "\"quoted\"")];
        assert_eq!(variables, expected.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))));
    }

    #[test]
    fn an_invalid_line_is_reported_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("my.env");
        std::fs::write(&file, "A=1\n1B=2\n").unwrap();
        let error = read_env(&[file], &[]).unwrap_err();
        assert!(error.message.contains("my.env: line 2: \"1B\""), "{error}");
    }

    #[test]
    fn options_override_files_and_later_values_override_earlier_ones() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("my.env");
        std::fs::write(&file, "A=file\nB=file\n").unwrap();
        let option = |value: &str| ("A".to_owned(), Some(value.to_owned()));
        let env = read_env(&[file], &[option("first"), option("last")]).unwrap();
        assert_eq!((env["A"].as_str(), env["B"].as_str()), ("last", "file"));
    }

    #[test]
    fn a_name_alone_takes_its_value_from_the_environment() {
        let path = read_env(&[], &[("PATH".to_owned(), None)]).unwrap();
        assert_eq!(path["PATH"], std::env::var("PATH").unwrap());
        let error = read_env(&[], &[("RGRID_NOT_SET_ANYWHERE".to_owned(), None)]).unwrap_err();
        assert!(error.message.contains("not set"), "{error}");
    }

    #[test]
    fn a_secret_takes_its_value_from_the_environment() {
        let secrets = read_secrets(&["PATH".to_owned()], &[]).unwrap();
        assert_eq!(secrets["PATH"], std::env::var("PATH").unwrap());
    }

    #[test]
    fn a_name_cannot_be_both_a_variable_and_a_secret() {
        let env = [("PATH".to_owned(), Some("x".to_owned()))];
        let error = read_secrets(&["PATH".to_owned()], &env).unwrap_err();
        assert!(error.message.contains("both --env and --secret"), "{error}");
    }
}
