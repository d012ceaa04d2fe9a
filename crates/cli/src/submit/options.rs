//! The options of `rgrid run` that say what is run, and how.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rgrid_api::{names, units};

#[derive(Args)]
pub struct JobOptions {
    /// What it runs in, see `rgrid runtimes list`; by default the server's, or by the script's ending
    #[arg(short, long, value_name = "NAME")]
    pub runtime: Option<String>,
    /// A variable for the script; KEY alone takes its value from here
    #[arg(short, long, value_name = "KEY=value", value_parser = variable)]
    pub env: Vec<(String, Option<String>)>,
    /// Variables from a file: KEY=value on each line, # begins a comment
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// A variable whose value is taken from your environment, or asked for; it is masked and not kept
    #[arg(long, value_name = "KEY", value_parser = variable_name)]
    pub secret: Vec<String>,
    /// Install these before the script, instead of the requirements.txt beside it
    #[arg(long, value_name = "FILE", conflicts_with = "no_requirements")]
    pub requirements: Option<PathBuf>,
    /// Install nothing, whatever lies beside the script or stands in it
    #[arg(long)]
    pub no_requirements: bool,
    /// End it after this time: 90s, 5m
    #[arg(long, value_name = "DURATION", value_parser = timeout, help_heading = "Limits")]
    pub timeout: Option<Duration>,
    /// Memory at most: 512m, 2g
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size, help_heading = "Limits")]
    pub memory: Option<u64>,
    /// Processor cores at most: 1.5
    #[arg(long, value_name = "NUMBER", value_parser = cpus, help_heading = "Limits")]
    pub cpus: Option<f64>,
    /// Run it without network
    #[arg(long, help_heading = "Limits")]
    pub no_network: bool,
    /// How often it may begin, when its worker is lost or stopped on the way; 1 means never twice
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Limits")]
    pub max_attempts: Option<u32>,
    /// Run it only where a worker has this label, such as gpu=true; it waits until there is one
    #[arg(long, value_name = "KEY=value", value_parser = label, help_heading = "Queue")]
    pub on: Vec<(String, String)>,
    /// From -100 to 100: what has a higher one begins first
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(-100..=100),
        help_heading = "Queue"
    )]
    pub priority: Option<i32>,
    /// For later finding: `rgrid list --label team=data`
    #[arg(long, value_name = "KEY=value", value_parser = label)]
    pub label: Vec<(String, String)>,
}

/// `KEY=value`, where the value may hold `=` and may be empty; or `KEY`.
pub fn variable(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    names::check_env_name(name)?;
    Ok((name.to_owned(), value))
}

fn variable_name(text: &str) -> Result<String, String> {
    // The value would stand in the shell's history, which is what a secret must not.
    if text.contains('=') {
        return Err(
            "only the name is given; the value is taken from your environment, or asked for".to_owned()
        );
    }
    names::check_env_name(text).map(|()| text.to_owned())
}

pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it like KEY=value")?;
    names::check_label_key(key)?;
    names::check_label_value(value)?;
    Ok((key.to_owned(), value.to_owned()))
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = units::parse_duration(text)?;
    if timeout.is_zero() { Err("must be above 0".to_owned()) } else { Ok(timeout) }
}

fn cpus(text: &str) -> Result<f64, String> {
    let cpus = text.parse::<f64>().ok().filter(|cpus| cpus.is_finite() && *cpus > 0.0);
    cpus.ok_or_else(|| "must be a number above 0, like 1.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variables_value_may_hold_anything() {
        let read = |text: &str| variable(text).map(|(name, value)| (name, value.unwrap_or("∅".to_owned())));
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(read("A=b=c"), pair("A", "b=c"));
        assert_eq!(read("A="), pair("A", ""));
        assert_eq!(read("_a1= \"x\" "), pair("_a1", " \"x\" "));
        assert_eq!(read("A"), pair("A", "∅"));
        for bad in ["=x", "1X=1", "A B=1", "", "Ä=1", "A-B=1", " A=1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_a_name_alone() {
        assert!(variable_name("TOKEN").is_ok());
        assert!(variable_name("TOKEN=x").unwrap_err().contains("only the name"));
    }

    #[test]
    fn limits_are_above_nothing() {
        assert_eq!(timeout("1m30s"), Ok(Duration::from_secs(90)));
        assert!(timeout("0").is_err() && timeout("-1").is_err() && timeout("soon").is_err());
        assert_eq!(cpus("1.5"), Ok(1.5));
        assert!(cpus("0").is_err() && cpus("nan").is_err() && cpus("inf").is_err() && cpus("x").is_err());
    }
}
