//! The commands.

pub mod cancel;
pub mod doctor;
pub mod download;
pub mod generate;
pub mod init;
pub mod list;
pub mod logs;
pub mod receipt;
pub mod retry;
pub mod run;
pub mod runtimes;
pub mod status;
pub mod wait;
pub mod why;

use crate::cli::{Command, Context, INTRODUCTION};
use crate::error::{Exit, Result};

pub fn run(command: Option<Command>, context: &Context) -> Result<Exit> {
    match command {
        None => context.console.raw(INTRODUCTION).map(|()| Exit::Success),
        Some(Command::Run(args)) => run::run(&args, context),
        Some(Command::Status(args)) => status::run(&args, context),
        Some(Command::Logs(args)) => logs::run(&args, context),
        Some(Command::List(args)) => list::run(&args, context),
        Some(Command::Wait(args)) => wait::run(&args, context),
        Some(Command::Cancel(args)) => cancel::run(&args, context),
        Some(Command::Retry(args)) => retry::run(&args, context),
        Some(Command::Why(args)) => why::run(&args, context),
        Some(Command::Receipt(args)) => receipt::run(&args, context),
        Some(Command::Download(args)) => download::run(&args, context),
        Some(Command::Runtimes(args)) => runtimes::run(&args, context),
        Some(Command::Init) => init::run(context),
        Some(Command::Doctor(args)) => doctor::run(&args, context),
        Some(Command::Completions(args)) => generate::completions(&args, context),
        Some(Command::Man(args)) => generate::man(&args, context),
    }
}
