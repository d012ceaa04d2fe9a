//! The other thing that this program can be: a process that only waits, so that a container has a network namespace
//! for sandboxes to join.

use std::env;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use crate::init::timeout;
use crate::signals::Signals;

/// Its only argument.
pub const ARGUMENT: &str = "pause";

/// Until SIGTERM, or for `RGRID_PAUSE_TTL_MS`, in case that nobody comes to end it.
pub fn pause() -> Result<(), String> {
    let ttl = env::var("RGRID_PAUSE_TTL_MS").ok().and_then(|text| text.parse().ok());
    let ttl = ttl.ok_or("the environment variable RGRID_PAUSE_TTL_MS is missing or not a number")?;
    let signals = Signals::new().map_err(|error| format!("signals can't be caught: {error}"))?;
    let until = Instant::now().checked_add(Duration::from_millis(ttl));
    while until.is_none_or(|until| Instant::now() < until) {
        match poll(&mut [PollFd::new(signals.fd(), PollFlags::POLLIN)], timeout(until)) {
            Ok(_) if signals.take_termination() => break,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(format!("poll failed: {error}")),
        }
    }
    Ok(())
}
