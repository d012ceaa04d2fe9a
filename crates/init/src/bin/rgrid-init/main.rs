//! `rgrid-init` is PID 1 of every sandbox. It waits for a job, runs it as an unprivileged user, sends numbered events to
//! the daemon, and exits when the daemon has stored the last one. `rgrid-init pause` holds a network namespace.
//!
//! There is one thread: [`init::Init`] sleeps in `poll` until input arrives or a deadline expires. The layers below it:
//! [`connection`] exchanges messages with the daemon, [`job`] runs setup and script, each as a [`program`], whose output
//! [`stdio_pipe`] puts into the [`journal`].

mod connection;
mod init;
mod inputs;
mod job;
mod journal;
mod outputs;
mod pause;
mod program;
mod reset;
mod sandbox;
mod stdio_pipe;
mod usage;

use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        Some(pause::ARGUMENT) => pause::pause(),
        _ => sandbox::Sandbox::from_env().and_then(init::Init::new).and_then(init::Init::run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rgrid-init: {error}");
            ExitCode::from(2)
        }
    }
}
