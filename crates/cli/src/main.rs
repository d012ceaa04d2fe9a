//! `rgrid`: runs a script somewhere else with one command.

mod attendance;
mod batch;
mod bottom;
mod cli;
mod commands;
mod config_file;
mod console;
mod describe;
mod destination;
mod ending;
mod escape;
mod exit;
mod failure;
mod follow;
mod interrupt;
mod outputs;
mod phases;
mod python;
mod random;
mod remedy;
mod server;
mod session;
mod shown;
mod submission;
mod target;
mod times;
mod truncation;
mod unfinished;
mod waiting;

use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use console::Console;
use session::Session;

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
