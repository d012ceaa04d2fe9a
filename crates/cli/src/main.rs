//! `rgrid`: runs a script somewhere else with one command.

mod batch;
mod cli;
mod client;
mod commands;
mod config_file;
mod context;
mod download;
mod error;
mod exit_code;
mod output;
mod python;
mod submit;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use context::Session;
use output::console::Console;

fn main() -> ExitCode {
    let Cli { target, command } = Cli::parse();
    let session = Session { console: Console::new(), options: target };
    let done = commands::run(command, &session);
    session.console.settle();
    let exit = match done {
        Ok(exit) => exit,
        Err(failure) => {
            session.console.error(&failure);
            failure.exit
        }
    };
    ExitCode::from(exit.code())
}
