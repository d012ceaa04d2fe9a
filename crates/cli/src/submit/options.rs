//! The options of `rgrid run` that describe the job.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rgrid_api::{names, units};

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
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(-100..=100),
        help_heading = "Queue"
    )]
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
        return Err(
            "only the name is allowed; the value is read from your environment or asked for".to_owned()
        );
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
}
