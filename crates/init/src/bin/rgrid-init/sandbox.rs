//! The container that the init runs in: its settings, the user of the script, and signals.

use std::env;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Gid, Uid, geteuid, setegid, seteuid};
use rgrid_init::Token;

pub struct Sandbox {
    pub token: Token,
    /// How long to wait for a job.
    pub park_ttl: Duration,
    /// How long to wait for a daemon after the job has ended.
    pub orphan_ttl: Duration,
    pub workspace: PathBuf,
    /// Other folders that a script can write to.
    pub scratch: Vec<PathBuf>,
    /// User of setup and script. `None` if the init does not run as root (in tests): no change of user.
    pub user: Option<u32>,
    pub signals: Signals,
}

/// 65534 is `nobody`, which represents unmapped users, and higher IDs are reserved.
const LAST_USER: u32 = 65_533;
const SCRATCH: &str = "/tmp:/dev/shm:/dev/mqueue";

impl Sandbox {
    pub fn from_env() -> Result<Self, String> {
        let scratch = env::var_os("RGRID_SCRATCH").unwrap_or_else(|| SCRATCH.into());
        let user = match env::var("RGRID_UID") {
            Ok(text) => text.parse().map_err(|_| format!("RGRID_UID is not a number: {text}"))?,
            Err(_) => 1000,
        };
        Ok(Self {
            token: Token::parse(&required("RGRID_TOKEN")?)
                .map_err(|error| format!("RGRID_TOKEN: {error}"))?,
            park_ttl: milliseconds("RGRID_PARK_TTL_MS")?,
            orphan_ttl: milliseconds("RGRID_ORPHAN_TTL_MS")?,
            workspace: env::var_os("RGRID_WORKSPACE").map_or_else(|| "/workspace".into(), PathBuf::from),
            scratch: env::split_paths(&scratch).collect(),
            user: geteuid().is_root().then_some(user),
            signals: Signals::block()?,
        })
    }

    /// Switches to a user that no earlier job had in this container.
    pub fn take_next_user(&mut self) -> Result<(), String> {
        if self.user.is_some_and(|id| id >= LAST_USER) {
            return Err("no user ID is left for another job".to_owned());
        }
        self.user = self.user.map(|id| id + 1);
        Ok(())
    }

    /// Runs `work` as the script's user, because the init lacks the capability to override file permissions. Must not
    /// be called while a process of the script is alive: it could signal the init.
    pub fn as_script<T>(&self, work: impl FnOnce() -> T) -> Result<T, String> {
        let _identity = self.user.map(ScriptIdentity::assume).transpose()?;
        Ok(work())
    }
}

/// Returns to root when dropped.
struct ScriptIdentity;

impl ScriptIdentity {
    fn assume(id: u32) -> Result<Self, String> {
        // Created first, so that its drop also undoes a partial change.
        let identity = Self;
        setegid(Gid::from_raw(id))
            .and_then(|()| seteuid(Uid::from_raw(id)))
            .map_err(|error| format!("cannot switch to user {id}: {error}"))?;
        Ok(identity)
    }
}

impl Drop for ScriptIdentity {
    fn drop(&mut self) {
        let root = seteuid(Uid::from_raw(0)).and_then(|()| setegid(Gid::from_raw(0)));
        if root.is_err() {
            // Without root the init could no longer kill processes.
            std::process::abort();
        }
    }
}

/// SIGCHLD and SIGTERM as a file descriptor for `poll`.
pub struct Signals {
    blocked: SigSet,
    fd: SignalFd,
}

impl Signals {
    pub fn block() -> Result<Self, String> {
        let blocked: SigSet = [Signal::SIGCHLD, Signal::SIGTERM].into_iter().collect();
        let fd = blocked
            .thread_block()
            .and_then(|()| SignalFd::with_flags(&blocked, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC));
        Ok(Self { blocked, fd: fd.map_err(|error: Errno| format!("cannot handle signals: {error}"))? })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Consumes all pending signals and reports whether SIGTERM was one of them. SIGCHLD only wakes the init, because
    /// one signal can stand for several exits.
    pub fn take_sigterm(&self) -> bool {
        let mut terminated = false;
        while let Ok(Some(info)) = self.fd.read_signal() {
            terminated |= i32::try_from(info.ssi_signo) == Ok(Signal::SIGTERM as i32);
        }
        terminated
    }

    /// Runs `start` with the signals unblocked, because a new process inherits the mask. A SIGCHLD that arrives
    /// meanwhile is lost, so one is raised afterwards.
    pub fn unblocked<T>(&self, start: impl FnOnce() -> T) -> T {
        // These calls cannot fail for a valid set, and SIGKILL ends a script that blocks SIGTERM.
        let _ = self.blocked.thread_unblock();
        let started = start();
        let _ = self.blocked.thread_block();
        let _ = raise(Signal::SIGCHLD);
        started
    }
}

fn required(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("the environment variable {name} is missing"))
}

pub fn milliseconds(name: &str) -> Result<Duration, String> {
    let text = required(name)?;
    text.parse().map(Duration::from_millis).map_err(|_| format!("{name} is not a number: {text}"))
}
