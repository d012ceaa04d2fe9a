//! Signals as something to `poll` for.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

pub struct Signals {
    caught: SigSet,
    fd: SignalFd,
}

impl Signals {
    pub fn new() -> Result<Self, Errno> {
        let caught: SigSet = [Signal::SIGCHLD, Signal::SIGTERM].into_iter().collect();
        caught.thread_block()?;
        let fd = SignalFd::with_flags(&caught, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { caught, fd })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Takes all that are waiting; was SIGTERM among them? SIGCHLD only wakes: one may stand for many ends, so
    /// whoever wakes asks for ends anyway.
    pub fn take_termination(&self) -> bool {
        let mut terminated = false;
        while let Ok(Some(info)) = self.fd.read_signal() {
            terminated |= i32::try_from(info.ssi_signo) == Ok(Signal::SIGTERM as i32);
        }
        terminated
    }

    /// A program that is started inherits the mask; so it is lifted around the start. A SIGCHLD that
    /// comes meanwhile is lost, so one is raised afterwards in its place.
    pub fn lifted<T>(&self, start: impl FnOnce() -> T) -> T {
        // Neither call can fail for a valid set; a script with a blocked SIGTERM still meets SIGKILL.
        let _ = self.caught.thread_unblock();
        let started = start();
        let _ = self.caught.thread_block();
        let _ = raise(Signal::SIGCHLD);
        started
    }
}
