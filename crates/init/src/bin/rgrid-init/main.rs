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
mod program;
mod reset;
mod sandbox;
mod stdio_pipe;
mod usage;

use std::process::ExitCode;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        Some("pause") => pause(),
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

/// Only waits, so that its container provides a network namespace that sandboxes can join: until SIGTERM, at most
/// `RGRID_PAUSE_TTL_MS` in case no daemon is left to send it.
fn pause() -> Result<(), String> {
    let deadline = Instant::now().checked_add(sandbox::milliseconds("RGRID_PAUSE_TTL_MS")?);
    let signals = sandbox::Signals::block()?;
    while deadline.is_none_or(|deadline| Instant::now() < deadline) {
        match poll(&mut [PollFd::new(signals.fd(), PollFlags::POLLIN)], init::poll_timeout(deadline)) {
            Ok(_) if signals.take_sigterm() => break,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(format!("poll failed: {error}")),
        }
    }
    Ok(())
}
