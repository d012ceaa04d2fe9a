//! `rgrid` runs a script on a remote machine with one command.

mod batch;
mod cli;
mod client;
mod commands;
mod config_file;
mod download;
mod error;
mod output;
mod python;
mod submit;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Context};
use output::Console;

fn main() -> ExitCode {
    let Cli { target, command } = Cli::parse();
    let context = Context { console: Console::new(), options: target };
    let result = commands::run(command, &context);
    context.console.clear_status();
    let exit = result.unwrap_or_else(|error| {
        context.console.error(&error);
        error.exit
    });
    ExitCode::from(exit.code())
}
