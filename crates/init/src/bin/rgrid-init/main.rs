//! `rgrid-init`: PID 1 of every sandbox. It waits for one job, runs it as an unprivileged user, tells what
//! happened as numbered events, and ends when the daemon has stored the last of them. (`rgrid-init hold` is
//! something else: [`hold`].)
//!
//! One thread, no timer: [`init::Init`] sleeps in `poll` until something comes in or a deadline is due.

mod capture;
mod host;
mod init;
mod inputs;
mod journal;
mod meter;
mod outputs;
mod pause;
mod processes;
mod reset;
mod run;
mod signals;
mod spawn;
mod stdio_pipe;
mod step;
mod sweep;
mod sysv;
mod traffic;
mod walk;
mod wire;

use std::process::ExitCode;

use host::Host;
use init::Init;

fn main() -> ExitCode {
    let ended = match std::env::args().nth(1).as_deref() {
        Some(pause::ARGUMENT) => pause::pause(),
        _ => Host::from_env().and_then(Init::new).and_then(Init::run),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("rgrid-init: {reason}");
            ExitCode::from(2)
        }
    }
}
