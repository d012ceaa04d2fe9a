//! One file a command.

pub mod cancel;
pub mod completions;
pub mod doctor;
pub mod download;
pub mod init;
pub mod list;
pub mod logs;
pub mod man;
pub mod receipt;
pub mod retry;
pub mod run;
pub mod runtimes;
pub mod status;
pub mod wait;
pub mod why;

use crate::cli::{BEGINNING, Command};
use crate::context::Session;
use crate::error::Failure;
use crate::exit_code::Exit;

pub fn run(command: Option<Command>, session: &Session) -> Result<Exit, Failure> {
    match command {
        None => session.console.raw(BEGINNING).map(|()| Exit::Fine),
        Some(Command::Run(args)) => run::run(&args, session),
        Some(Command::Status(args)) => status::run(&args, session),
        Some(Command::Logs(args)) => logs::run(&args, session),
        Some(Command::List(args)) => list::run(&args, session),
        Some(Command::Wait(args)) => wait::run(&args, session),
        Some(Command::Cancel(args)) => cancel::run(&args, session),
        Some(Command::Retry(args)) => retry::run(&args, session),
        Some(Command::Why(args)) => why::run(&args, session),
        Some(Command::Receipt(args)) => receipt::run(&args, session),
        Some(Command::Download(args)) => download::run(&args, session),
        Some(Command::Runtimes(args)) => runtimes::run(&args, session),
        Some(Command::Init) => init::run(session),
        Some(Command::Doctor(args)) => doctor::run(&args, session),
        Some(Command::Completions(args)) => completions::run(&args, session),
        Some(Command::Man(args)) => man::run(&args, session),
    }
}
