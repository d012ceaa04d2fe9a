//! `rgridd`: the daemon's command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use rgridd::app::{self, Role};
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
    /// Check everything the daemon needs and say what to fix
    Doctor,
    /// Print all settings with their defaults and explanations
    Settings {
        /// As the page docs/settings.md
        #[arg(long)]
        markdown: bool,
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
        None => app::serve(load(&cli.serve)?, cli.serve.role()),
        Some(Command::Serve(serve)) => app::serve(load(serve)?, serve.role()),
        Some(Command::Migrate { what }) => {
            let settings = load(&cli.serve)?;
            match what {
                Migrate::Status => app::migrate::status(settings),
                Migrate::Up => app::migrate::up(settings),
                Migrate::Down => app::migrate::down(settings),
            }
        }
        Some(Command::Doctor) => app::doctor::examine(load(&cli.serve)?),
        Some(Command::Settings { markdown }) => {
            let text = if *markdown { settings::markdown() } else { settings::DEFAULTS.to_owned() };
            print!("{text}");
            Ok(ExitCode::SUCCESS)
        }
    }
}
