//! Ending and reaping processes.

use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::thread::sleep;
use std::time::{Duration, Instant};

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

/// Ends and takes leave of everybody in the container but the init, until the kernel knows of nobody else there.
/// Outside of a container there are no others.
pub fn be_alone(until: Instant) -> Result<(), String> {
    const PAUSE: Duration = Duration::from_millis(1);
    while getpid().as_raw() == 1 {
        reap(drop);
        // Counts all that have a number here, those that have ended and are still to be taken leave of among them.
        if kill(Pid::from_raw(-1), Signal::SIGKILL) == Err(Errno::ESRCH) {
            break;
        }
        if Instant::now() >= until {
            return Err("A process of the former job can't be ended.".to_owned());
        }
        sleep(PAUSE);
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Children {
    Left,
    Gone,
}

/// A process that has ended.
pub struct Ended {
    pub pid: Pid,
    pub status: ExitStatus,
    /// The most memory that it, or one of its own that it has taken leave of, had at once.
    pub peak_bytes: u64,
}

/// Takes leave of all that have ended, strangers that PID 1 inherited among them.
pub fn reap(mut ended: impl FnMut(Ended)) -> Children {
    loop {
        match wait_any() {
            Ok(Some(one)) => ended(one),
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
fn wait_any() -> Result<Option<Ended>, Errno> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: wait4 writes one int and one rusage, to places that outlive the call.
    let pid = Errno::result(unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) })?;
    // SAFETY: all zeros, as which it began, is a valid rusage too.
    let kib = u64::try_from(unsafe { usage.assume_init() }.ru_maxrss).unwrap_or(0);
    let peak_bytes = kib.saturating_mul(1024);
    Ok((pid > 0).then(|| Ended { pid: Pid::from_raw(pid), status: ExitStatus::from_raw(status), peak_bytes }))
}
