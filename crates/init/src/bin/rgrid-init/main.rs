//! `rgrid-init`: PID 1 of every sandbox. It waits for one job, runs it as an unprivileged user, tells what
//! happened as numbered events, and ends when the daemon has stored the last of them. (`rgrid-init hold` is
//! something else: [`hold`].)
//!
//! One thread, no timer: [`init::Init`] sleeps in `poll` until something comes in or a deadline is due.

mod capture;
mod clean;
mod hold;
mod host;
mod init;
mod inputs;
mod intake;
mod journal;
mod meter;
mod outputs;
mod processes;
mod run;
mod signals;
mod spawn;
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
        Some(hold::ARGUMENT) => hold::hold(),
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
