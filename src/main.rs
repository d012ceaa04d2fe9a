//! `rgridd`: the daemon's command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use rgridd::commands;
use rgridd::commands::healthcheck::Question;
use rgridd::daemon::{self, Role};
use rgridd::execution::Scope;
use rgridd::settings::{self, Settings};

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("RGRID_COMMIT"), ")");

/// Runs scripts once each in fresh, locked-down containers.
#[derive(Parser)]
#[command(name = "rgridd", version = VERSION, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
    /// A settings file; `rgridd settings` prints all settings with their defaults
    #[arg(long, global = true, value_name = "FILE", env = "RGRID_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API and run executions, in the foreground (the default)
    Serve(Serve),
    /// Look at the database's schema, bring it up to date, or take the last step back
    Migrate {
        #[arg(value_enum, default_value = "status")]
        what: Migrate,
    },
    /// Make, list and revoke the API's keys
    #[command(subcommand)]
    Keys(Keys),
    /// Keep sandboxes from this host and from metadata services; for root on the Docker host, when the daemon
    /// is not
    Firewall {
        #[arg(value_enum, default_value = "up")]
        what: Firewall,
    },
    /// Check everything the daemon needs and say what to fix
    Doctor,
    /// Ask the daemon of these settings how it is; exit code 0 when it is fine
    Probe {
        #[arg(value_enum, default_value = "live")]
        what: Probe,
    },
    /// Print all settings with their defaults and explanations
    Settings {
        /// As the page docs/settings.md
        #[arg(long)]
        markdown: bool,
    },
}

#[derive(Subcommand)]
enum Keys {
    /// Make a key; it goes to stdout, this one time
    Create {
        /// Whose it is or what it is for
        #[arg(long)]
        name: String,
        /// What it may: read its own executions, run scripts, admin for all (and those of others)
        #[arg(long, value_name = "SCOPE", value_delimiter = ',', default_value = "read,run")]
        scope: Vec<Scope>,
        /// How long it is valid, such as 90d; for good without
        #[arg(long, value_name = "DURATION", value_parser = rgrid_api::units::parse_duration)]
        expires: Option<Duration>,
    },
    /// Show all keys: what they may, whether they are valid, when they were last used
    List {
        #[arg(long)]
        json: bool,
    },
    /// End a key, at once
    Revoke {
        /// Its id, as in `keys list`
        #[arg(value_name = "ID")]
        key: String,
    },
}

#[derive(clap::Args, Default)]
struct Serve {
    /// What this process does
    #[arg(long, value_enum, default_value = "all")]
    role: RoleArgument,
    /// Address and port, such as 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Executions at once
    #[arg(long, value_name = "N")]
    slots: Option<usize>,
    /// Where the embedded Postgres and the worker's name live
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum RoleArgument {
    #[default]
    All,
    Api,
    Worker,
}

#[derive(Clone, Copy, ValueEnum)]
enum Firewall {
    /// Put the rules up
    Up,
    /// Put them up and look after them once a minute, until stopped
    Keep,
    /// Tell whether they are up, and change nothing
    Check,
    /// Take them away
    Down,
    /// Print commands for a shell on the Docker host, such as `docker exec … rgridd firewall print | sudo sh`
    Print,
}

#[derive(Clone, Copy, ValueEnum)]
enum Probe {
    /// The process answers
    Live,
    /// It can serve: it reaches its database and Docker, and is not stopping
    Ready,
}

#[derive(Clone, Copy, ValueEnum)]
enum Migrate {
    Status,
    Up,
    Down,
}

impl Serve {
    fn flags(&self) -> Vec<(&'static str, figment::value::Value)> {
        let mut flags: Vec<(&'static str, figment::value::Value)> = Vec::new();
        if let Some(listen) = &self.listen {
            flags.push(("http.listen", listen.clone().into()));
        }
        if let Some(slots) = self.slots {
            flags.push(("worker.slots", slots.into()));
        }
        if let Some(folder) = &self.data_dir {
            flags.push(("data_dir", folder.to_string_lossy().into_owned().into()));
        }
        flags
    }

    fn role(&self) -> Role {
        match self.role {
            RoleArgument::All => Role::All,
            RoleArgument::Api => Role::Api,
            RoleArgument::Worker => Role::Worker,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let load = |serve: &Serve| -> anyhow::Result<Settings> {
        Ok(settings::load(cli.config.as_deref(), serve.flags())?)
    };
    match &cli.command {
        None => match daemon::serve(load(&cli.serve)?, cli.serve.role())? {},
        Some(Command::Serve(serve)) => match daemon::serve(load(serve)?, serve.role())? {},
        Some(Command::Migrate { what }) => {
            let settings = load(&cli.serve)?;
            match what {
                Migrate::Status => commands::migrate::status(settings),
                Migrate::Up => commands::migrate::up(settings),
                Migrate::Down => commands::migrate::down(settings),
            }
        }
        Some(Command::Keys(keys)) => manage(keys, load(&cli.serve)?),
        Some(Command::Firewall { what }) => {
            let settings = load(&cli.serve)?;
            match what {
                Firewall::Up => commands::firewall::up(settings),
                Firewall::Keep => commands::firewall::keep(settings),
                Firewall::Check => commands::firewall::check(settings),
                Firewall::Down => commands::firewall::down(settings),
                Firewall::Print => commands::firewall::print(settings),
            }
        }
        Some(Command::Doctor) => commands::doctor::examine(load(&cli.serve)?),
        Some(Command::Probe { what }) => {
            let settings = load(&cli.serve)?;
            let question = match what {
                Probe::Live => Question::Live,
                Probe::Ready => Question::Ready,
            };
            commands::healthcheck::ask(&settings, question)
        }
        Some(Command::Settings { markdown }) => {
            let text = if *markdown { settings::markdown() } else { settings::DEFAULTS.to_owned() };
            print!("{text}");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn manage(keys: &Keys, settings: Settings) -> anyhow::Result<ExitCode> {
    match keys {
        Keys::Create { name, scope, expires } => {
            commands::keys::create(settings, name.clone(), scope.iter().copied().collect(), *expires)
        }
        Keys::List { json } => commands::keys::list(settings, *json),
        Keys::Revoke { key } => commands::keys::revoke(settings, key),
    }
}
