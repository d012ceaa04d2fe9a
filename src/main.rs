//! The command line of the daemon `rgridd`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use config::Value;
use rgridd::commands::{doctor, firewall, healthcheck, keys, migrate};
use rgridd::daemon::{self, Role};
use rgridd::settings;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("RGRID_COMMIT"), ")");

/// Run scripts in isolated containers, from a queue in Postgres.
#[derive(Parser)]
#[command(name = "rgridd", version = VERSION, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
    /// Read settings from this file; `rgridd settings` prints all settings with their defaults
    #[arg(long, global = true, value_name = "FILE", env = "RGRID_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API and run executions, in the foreground (default)
    Serve(Serve),
    /// Show or change the version of the database schema
    Migrate {
        #[arg(value_enum, default_value = "status")]
        action: migrate::Migrate,
    },
    /// Create, list and revoke API keys
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Block access from sandboxes to this host and to metadata services; run it as root on the Docker host if
    /// the daemon is not root
    Firewall {
        #[arg(value_enum, default_value = "up")]
        action: firewall::Action,
    },
    /// Check everything the daemon needs and explain how to fix what is missing
    Doctor,
    /// Check the health of the daemon that these settings describe; exit with 0 if it is healthy
    #[command(alias = "probe")]
    Healthcheck {
        #[arg(value_enum, default_value = "live")]
        check: healthcheck::Healthcheck,
    },
    /// Print all settings with their defaults and descriptions
    Settings {
        /// Print them as Markdown (docs/settings.md)
        #[arg(long)]
        markdown: bool,
    },
}

#[derive(clap::Args, Default)]
struct Serve {
    /// Serve the API, run executions, or do both
    #[arg(long, value_enum, default_value = "all")]
    role: Role,
    /// Listen on this address, such as 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Run at most N executions at the same time
    #[arg(long, value_name = "N")]
    slots: Option<u64>,
    /// Store the embedded Postgres and the worker's state in this directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Serve {
    fn flags(&self) -> Vec<(&'static str, Value)> {
        let data_dir = self.data_dir.as_ref().map(|path| path.to_string_lossy().into_owned());
        let flags = [
            ("http.listen", self.listen.clone().map(Value::from)),
            ("worker.slots", self.slots.map(Value::from)),
            ("data_dir", data_dir.map(Value::from)),
        ];
        flags.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

fn main() -> ExitCode {
    run(&Cli::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let load = |serve: &Serve| settings::load(cli.config.as_deref(), serve.flags());
    let settings = || load(&cli.serve);
    match &cli.command {
        None => match daemon::serve(settings()?, cli.serve.role)? {},
        Some(Command::Serve(serve)) => match daemon::serve(load(serve)?, serve.role)? {},
        Some(Command::Migrate { action }) => migrate::run(&settings()?, *action)?,
        Some(Command::Keys(command)) => keys::run(&settings()?, command)?,
        Some(Command::Firewall { action }) => firewall::run(&settings()?, *action)?,
        Some(Command::Doctor) => return doctor::run(&settings()?),
        Some(Command::Healthcheck { check }) => healthcheck::run(&settings()?, *check)?,
        Some(Command::Settings { markdown: true }) => print!("{}", settings::markdown()),
        Some(Command::Settings { markdown: false }) => print!("{}", settings::DEFAULTS),
    }
    Ok(ExitCode::SUCCESS)
}
