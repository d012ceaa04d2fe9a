//! The options of `rgrid run` that describe the job, and the environment variables that they set.

use std::collections::BTreeMap;
use std::env::VarError;
use std::io::{self, ErrorKind, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rgrid_api::{names, units};

use crate::error::{CliError, Exit, Result};

#[derive(Args)]
pub struct JobOptions {
    /// Use this runtime (see `rgrid runtimes list`); by default, the script's extension selects it
    #[arg(short, long, value_name = "NAME")]
    pub runtime: Option<String>,
    /// Set an environment variable; KEY alone takes the value from your environment
    #[arg(short, long, value_name = "KEY=value", value_parser = parse_variable)]
    pub env: Vec<(String, Option<String>)>,
    /// Read environment variables from a file with one KEY=value per line; # starts a comment
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Set a secret variable, read from your environment or asked for; it is masked and not kept
    #[arg(long, value_name = "KEY", value_parser = parse_secret_name)]
    pub secret: Vec<String>,
    /// Install these requirements instead of the requirements.txt next to the script
    #[arg(long, value_name = "FILE", conflicts_with = "no_requirements")]
    pub requirements: Option<PathBuf>,
    /// Install nothing: ignore requirements.txt and the script's metadata
    #[arg(long)]
    pub no_requirements: bool,
    /// Stop the script after this time: 90s, 5m
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, help_heading = "Limits")]
    pub timeout: Option<Duration>,
    /// Limit the memory: 512m, 2g
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size, help_heading = "Limits")]
    pub memory: Option<u64>,
    /// Limit the number of processor cores: 1.5
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus, help_heading = "Limits")]
    pub cpus: Option<f64>,
    /// Run without network access
    #[arg(long, help_heading = "Limits")]
    pub no_network: bool,
    /// Start at most this many attempts; another one starts if the worker is lost
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Limits")]
    pub max_attempts: Option<u32>,
    /// Run only on a worker with this label, such as gpu=true; wait until there is one
    #[arg(long, value_name = "KEY=value", value_parser = parse_label, help_heading = "Queue")]
    pub on: Vec<(String, String)>,
    /// Set the priority, from -100 to 100; higher values start first
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Queue",
        value_parser = clap::value_parser!(i32).range(-100..=100))]
    pub priority: Option<i32>,
    /// Label the execution, to find it later with `rgrid list --label team=data`
    #[arg(long, value_name = "KEY=value", value_parser = parse_label)]
    pub label: Vec<(String, String)>,
}

/// `KEY=value`, where the value may contain `=` and may be empty, or `KEY`.
pub fn parse_variable(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    names::check_env_name(name)?;
    Ok((name.to_owned(), value))
}

/// Rejects a value, which would remain in the shell's history.
fn parse_secret_name(text: &str) -> Result<String, String> {
    if text.contains('=') {
        return Err("only the name is allowed; the value is read from your environment or asked for".into());
    }
    names::check_env_name(text).map(|()| text.to_owned())
}

pub fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label has the form KEY=value")?;
    names::check_label_key(key)?;
    names::check_label_value(value)?;
    Ok((key.to_owned(), value.to_owned()))
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = units::parse_duration(text)?;
    if timeout.is_zero() { Err("must be above 0".to_owned()) } else { Ok(timeout) }
}

fn parse_cpus(text: &str) -> Result<f64, String> {
    let cpus = text.parse::<f64>().ok().filter(|cpus| cpus.is_finite() && *cpus > 0.0);
    cpus.ok_or_else(|| "must be a number above 0, such as 1.5".to_owned())
}

/// `--env` overrides files, and later values override earlier ones.
pub fn read_env(files: &[PathBuf], options: &[(String, Option<String>)]) -> Result<BTreeMap<String, String>> {
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
fn resolve(name: &str, value: Option<String>) -> Result<String> {
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
pub fn read_secrets(names: &[String], env: &[(String, Option<String>)]) -> Result<BTreeMap<String, String>> {
    let mut secrets = BTreeMap::new();
    for name in names {
        if env.iter().any(|(other, _)| other == name) {
            let message = format!("{name} is set with both --env and --secret; use one of them");
            return Err(CliError::usage(message));
        }
        secrets.insert(name.clone(), read_secret(name)?);
    }
    Ok(secrets)
}

fn read_secret(name: &str) -> Result<String> {
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
    fn a_variables_value_may_contain_anything() {
        for (text, name, value) in [
            ("A=b=c", "A", Some("b=c")),
            ("A=", "A", Some("")),
            ("_a1= \"x\" ", "_a1", Some(" \"x\" ")),
            ("A", "A", None),
        ] {
            let expected = (name.to_owned(), value.map(str::to_owned));
            assert_eq!(parse_variable(text), Ok(expected), "{text}");
        }
        for bad in ["=x", "1X=1", "A B=1", "", "Ä=1", "A-B=1", " A=1"] {
            assert!(parse_variable(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_option_contains_only_the_name() {
        assert!(parse_secret_name("TOKEN").is_ok());
        assert!(parse_secret_name("TOKEN=x").unwrap_err().contains("only the name"));
    }

    #[test]
    fn limits_are_above_zero() {
        assert_eq!(parse_timeout("1m30s"), Ok(Duration::from_secs(90)));
        assert!(["0", "-1", "soon"].iter().all(|text| parse_timeout(text).is_err()));
        assert_eq!(parse_cpus("1.5"), Ok(1.5));
        assert!(["0", "nan", "inf", "x"].iter().all(|text| parse_cpus(text).is_err()));
    }

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
