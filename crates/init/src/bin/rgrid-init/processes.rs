//! Ending processes and taking leave of them.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpid};

/// To everything in the container but the init. Outside of a container (in tests) "everything" would be
/// everything on the machine, so there only the process group of `leader` is meant.
pub fn signal_all(leader: Pid, signal: Signal) {
    // Nobody left to signal is what was wanted.
    let _ = if getpid().as_raw() == 1 {
        kill(Pid::from_raw(-1), signal)
    } else if leader.as_raw() > 1 {
        killpg(leader, signal)
    } else {
        Ok(())
    };
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Children {
    Left,
    Gone,
}

/// Takes leave of all that have ended, strangers that PID 1 inherited among them.
pub fn reap(mut ended: impl FnMut(Pid, ExitStatus)) -> Children {
    loop {
        match wait_any() {
            Ok(Some((pid, status))) => ended(pid, status),
            Ok(None) => return Children::Left,
            Err(Errno::EINTR) => {}
            Err(_) => return Children::Gone,
        }
    }
}

#[expect(
    unsafe_code,
    reason = "nix turns an end by a real-time signal into an error, and then nobody knows whose end it was"
)]
fn wait_any() -> Result<Option<(Pid, ExitStatus)>, Errno> {
    let mut status = 0;
    // SAFETY: waitpid writes one int, to a place that outlives the call.
    let pid = Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) })?;
    Ok((pid > 0).then(|| (Pid::from_raw(pid), ExitStatus::from_raw(status))))
}
