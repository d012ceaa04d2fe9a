//! `rgrid-init pause` only waits, so that its container provides a network namespace that sandboxes can join.

use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use crate::init::poll_timeout;
use crate::sandbox::{Signals, milliseconds};

pub const ARGUMENT: &str = "pause";

/// Waits for SIGTERM, at most `RGRID_PAUSE_TTL_MS` in case no daemon is left to send it.
pub fn pause() -> Result<(), String> {
    let deadline = Instant::now().checked_add(milliseconds("RGRID_PAUSE_TTL_MS")?);
    let signals = Signals::block()?;
    while deadline.is_none_or(|deadline| Instant::now() < deadline) {
        match poll(&mut [PollFd::new(signals.fd(), PollFlags::POLLIN)], poll_timeout(deadline)) {
            Ok(_) if signals.take_sigterm() => break,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(format!("poll failed: {error}")),
        }
    }
    Ok(())
}
