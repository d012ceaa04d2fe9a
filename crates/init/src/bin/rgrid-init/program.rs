//! Runs one program of a job (setup or script) with everything it starts, until no process of it is left.

use std::fs;
use std::io::{self, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpid};
use rgrid_init::{SecretPatterns, Stream, StreamEnd};

use crate::journal::Journal;
use crate::sandbox::Sandbox;
use crate::stdio_pipe::StdioPipe;
use crate::usage::UsageMeter;

/// How long to wait after the exit for killed processes to disappear and pipes to close, which takes no time unless
/// something hangs in the kernel.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(5);

/// SIGKILL is repeated until it has worked.
const KILL_INTERVAL: Duration = Duration::from_secs(1);

pub struct Program {
    pub argv: Vec<String>,
    /// All environment variables; nothing is inherited.
    pub env: Vec<(String, String)>,
    pub timeout: Duration,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// If both are the same stream, one pipe keeps the order of the output.
    pub stdout: Stream,
    pub stderr: Stream,
    pub output_limit: u64,
    pub secrets: Arc<SecretPatterns>,
}

pub struct RunningProgram {
    /// The process that was started. It leads its own process group.
    leader: Pid,
    usage: UsageMeter,
    started_at: Instant,
    grace: Duration,
    state: ProgramState,
    stopped: Option<StopCause>,
    pipes: Vec<StdioPipe>,
    children_left: bool,
    /// Of its largest process.
    peak_bytes: u64,
}

/// A deadline of `None` is too far away for the clock.
enum ProgramState {
    Running {
        deadline: Option<Instant>,
    },
    /// SIGTERM was sent; SIGKILL follows.
    Terminating {
        kill_at: Option<Instant>,
    },
    /// The leader has exited; its other processes are being killed.
    Exited {
        status: ExitStatus,
        wall: Duration,
        deadline: Instant,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopCause {
    TimedOut,
    Cancelled,
}

pub struct ProgramExit {
    pub status: ExitStatus,
    pub stopped: Option<StopCause>,
    pub oom_killed: bool,
    pub wall: Duration,
    pub cpu: Duration,
    pub streams: Vec<(Stream, StreamEnd)>,
    /// Of its largest process.
    pub peak_bytes: u64,
    /// Some of its processes could not be killed.
    pub survivors: bool,
}

impl RunningProgram {
    /// The error is a sentence for the user.
    pub fn start(program: &Program, sandbox: &Sandbox) -> Result<Self, String> {
        let (pipes, stdout, stderr) =
            open_pipes(program).map_err(|error| format!("A pipe could not be created: {error}."))?;
        let usage = UsageMeter::start();
        let started_at = Instant::now();
        let leader = sandbox.signals.unblocked(|| spawn(program, sandbox, stdout, stderr))?;
        Ok(Self {
            leader,
            usage,
            started_at,
            grace: program.grace,
            state: ProgramState::Running { deadline: started_at.checked_add(program.timeout) },
            stopped: None,
            pipes,
            children_left: true,
            peak_bytes: 0,
        })
    }

    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipes.iter().filter_map(StdioPipe::fd)
    }

    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            ProgramState::Running { deadline } => deadline,
            ProgramState::Terminating { kill_at } => kill_at,
            ProgramState::Exited { deadline, .. } => Some(deadline),
        }
    }

    /// Sends SIGTERM now and SIGKILL after the grace period. Only the first call has an effect.
    pub fn stop(&mut self, cause: StopCause, now: Instant) {
        if let ProgramState::Running { .. } = self.state {
            self.stopped = Some(cause);
            self.state = ProgramState::Terminating { kill_at: now.checked_add(self.grace) };
            signal_all(self.leader, Signal::SIGTERM);
        }
    }

    /// Handles deadlines, exits and output. Must be called whenever the init wakes.
    pub fn advance(&mut self, now: Instant, buffer: &mut [u8], journal: &mut Journal) {
        match &mut self.state {
            ProgramState::Running { deadline: Some(at) } if *at <= now => self.stop(StopCause::TimedOut, now),
            ProgramState::Terminating { kill_at: Some(at) } if *at <= now => {
                *at = now + KILL_INTERVAL;
                signal_all(self.leader, Signal::SIGKILL);
            }
            _ => {}
        }
        let (mut exited, leader) = (None, self.leader);
        self.children_left = reap(|child| {
            exited = exited.or((child.pid == leader).then_some(child.status));
            self.peak_bytes = self.peak_bytes.max(child.peak_bytes);
        });
        if let Some(status) = exited {
            let wall = now.saturating_duration_since(self.started_at);
            self.state = ProgramState::Exited { status, wall, deadline: now + CLEANUP_TIMEOUT };
        }
        // Outside a container the remaining processes are not children of the init, but still in the group.
        if exited.is_some() || (matches!(self.state, ProgramState::Exited { .. }) && self.children_left) {
            signal_all(self.leader, Signal::SIGKILL);
        }
        self.pipes.iter_mut().for_each(|pipe| pipe.read(buffer, journal));
    }

    /// No process is left and all pipes are closed, or the rest could not be killed in time.
    pub fn is_finished(&self, now: Instant) -> bool {
        let ProgramState::Exited { deadline, .. } = self.state else { return false };
        (self.fds().next().is_none() && !self.children_left) || now >= deadline
    }

    /// `None` if the program has not exited.
    pub fn into_exit(self, journal: &mut Journal) -> Option<ProgramExit> {
        let ProgramState::Exited { status, wall, .. } = self.state else { return None };
        Some(ProgramExit {
            status,
            stopped: self.stopped,
            oom_killed: self.usage.saw_oom_kill(),
            wall,
            cpu: self.usage.cpu(),
            streams: self.pipes.into_iter().map(|pipe| pipe.finish(journal)).collect(),
            peak_bytes: self.peak_bytes,
            survivors: self.children_left,
        })
    }
}

fn open_pipes(program: &Program) -> io::Result<(Vec<StdioPipe>, PipeWriter, PipeWriter)> {
    let (first, stdout) = StdioPipe::open(program.stdout, program.output_limit, &program.secrets)?;
    if program.stdout == program.stderr {
        let stderr = stdout.try_clone()?;
        return Ok((vec![first], stdout, stderr));
    }
    let (second, stderr) = StdioPipe::open(program.stderr, program.output_limit, &program.secrets)?;
    Ok((vec![first, second], stdout, stderr))
}

fn spawn(
    program: &Program,
    sandbox: &Sandbox,
    stdout: PipeWriter,
    stderr: PipeWriter,
) -> Result<Pid, String> {
    let Some((name, arguments)) = program.argv.split_first() else {
        return Err("There is no program to start.".to_owned());
    };
    let mut command = Command::new(name);
    command
        .args(arguments)
        .env_clear()
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&sandbox.workspace)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0);
    if let Some(user) = sandbox.user {
        // As root this also drops the supplementary groups.
        command.uid(user).gid(user);
    }
    let child = preferred_by_oom_killer(|| command.spawn()).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("The program `{name}` was not found in this runtime (or its interpreter is missing).")
        }
        io::ErrorKind::PermissionDenied => format!("The program `{name}` is not executable."),
        io::ErrorKind::ArgumentListTooLong => {
            format!("The arguments and environment of `{name}` are larger than Linux allows.")
        }
        _ => format!("The program `{name}` could not be started: {error}."),
    })?;
    // The standard library must not wait for it, because PID 1 reaps all processes in one place.
    i32::try_from(child.id()).map(Pid::from_raw).map_err(|_| "The process has no usable ID.".to_owned())
}

/// The new process inherits the maximum score, so the kernel kills scripts before anything else on the host, including
/// the init, which must report it. The process could not set it itself after it has changed its user. If the score
/// cannot be changed, the kernel decides.
fn preferred_by_oom_killer<T>(start: impl FnOnce() -> T) -> T {
    const SCORE: &str = "/proc/self/oom_score_adj";
    let previous = fs::read_to_string(SCORE);
    let _ = fs::write(SCORE, "1000");
    let started = start();
    if let Ok(previous) = previous {
        let _ = fs::write(SCORE, previous.trim());
    }
    started
}

/// Signals every other process in the container. Outside a container (in tests) that would be every process of the
/// machine, so only the process group of `leader` is signalled there.
fn signal_all(leader: Pid, signal: Signal) {
    // An error means that no process is left.
    let _ = if getpid().as_raw() == 1 {
        kill(Pid::from_raw(-1), signal)
    } else if leader.as_raw() > 1 {
        killpg(leader, signal)
    } else {
        Ok(())
    };
}

/// Kills and reaps every other process in the container, until the kernel reports that none is left.
pub fn kill_all(deadline: Instant) -> Result<(), String> {
    while getpid().as_raw() == 1 {
        reap(drop);
        // The kernel also counts processes that have exited but are not reaped yet.
        if kill(Pid::from_raw(-1), Signal::SIGKILL) == Err(Errno::ESRCH) {
            break;
        }
        if Instant::now() >= deadline {
            return Err("A process of the previous job could not be killed.".to_owned());
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

struct ReapedProcess {
    pid: Pid,
    status: ExitStatus,
    /// Peak memory of the process, or of a descendant that it has reaped.
    peak_bytes: u64,
}

/// Reaps all exited processes, including orphans that PID 1 has inherited, and reports whether any child is left.
fn reap(mut on_exit: impl FnMut(ReapedProcess)) -> bool {
    loop {
        match wait_any() {
            Ok(Some(process)) => on_exit(process),
            Ok(None) => return true,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

#[expect(unsafe_code, reason = "nix returns an error without the PID if a real-time signal ended a process")]
fn wait_any() -> Result<Option<ReapedProcess>, Errno> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: wait4 writes one int and one rusage, to places that outlive the call.
    let pid = Errno::result(unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) })?;
    // SAFETY: the initial zeros are a valid rusage too.
    let kib = u64::try_from(unsafe { usage.assume_init() }.ru_maxrss).unwrap_or(0);
    Ok((pid > 0).then(|| ReapedProcess {
        pid: Pid::from_raw(pid),
        status: ExitStatus::from_raw(status),
        peak_bytes: kib.saturating_mul(1024),
    }))
}
