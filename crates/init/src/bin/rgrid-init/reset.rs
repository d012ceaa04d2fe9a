//! Making a sandbox ready for another job of the same owner: nothing of the former one may be left.
//!
//! In this order, because each step needs that nobody undoes it: first the processes, then what only they could
//! change. What can't be cleaned, or not in time, is an error, and the sandbox ends.

use std::time::{Duration, Instant};

use nix::unistd::getpid;

use crate::host::Host;
use crate::processes::be_alone;
use crate::{sweep, sysv};

/// For all of it. A new sandbox takes less.
const PATIENCE: Duration = Duration::from_secs(3);

/// The error is a sentence.
pub fn up(host: &mut Host) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    be_alone(until)?;
    for place in std::iter::once(&host.workspace).chain(&host.scratch) {
        sweep::empty(place, host, until)?;
    }
    // Outside of a container (in tests) there are those of the whole machine.
    if getpid().as_raw() == 1 {
        sysv::remove_all(host)?;
    }
    host.take_next_user()
}
