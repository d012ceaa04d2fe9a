//! One program and everything it starts: until its end, its deadline, or its cancellation, and until nothing
//! of it is left.

use std::os::fd::BorrowedFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rgrid_init::{SecretPatterns, Stream, StreamEnd};

use crate::host::Host;
use crate::journal::Journal;
use crate::meter::Meter;
use crate::processes::{Children, reap, signal_all};
use crate::signals::Signals;
use crate::spawn::{Program, spawn};
use crate::stdio_pipe::Intake;

/// How long to wait, after the end, for killed processes to go and for the pipes to end. Both take no time
/// unless something hangs in the kernel.
const LEAVE: Duration = Duration::from_secs(5);

/// SIGKILL is repeated until it has worked.
const INSIST: Duration = Duration::from_secs(1);

pub struct Step {
    leader: Pid,
    meter: Meter,
    begun: Instant,
    grace: Duration,
    life: Life,
    stopped: Option<Cause>,
    intakes: Vec<Intake>,
    children: Children,
    /// Of its largest process.
    peak_bytes: u64,
}

enum Life {
    /// `None`: no deadline that a clock could reach.
    Running { deadline: Option<Instant> },
    /// SIGTERM was sent, SIGKILL follows.
    Stopping { kill_at: Option<Instant> },
    /// The program has ended; what it left behind is being killed.
    Leaving { status: ExitStatus, wall: Duration, until: Instant },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    TimedOut,
    Cancelled,
}

/// How a step ended.
pub struct Outcome {
    pub status: ExitStatus,
    pub stopped: Option<Cause>,
    pub oom_killed: bool,
    pub wall: Duration,
    pub cpu: Duration,
    pub streams: Vec<(Stream, StreamEnd)>,
    /// Of its largest process.
    pub peak_bytes: u64,
    /// Some of its processes can't be killed and are still there.
    pub survived: bool,
}

pub struct Times {
    pub timeout: Duration,
    pub grace: Duration,
}

/// Where the program's stdout and stderr go: the same stream twice keeps their order.
pub struct Streams {
    pub stdout: Stream,
    pub stderr: Stream,
    pub limit: u64,
    pub masks: Arc<SecretPatterns>,
}

impl Step {
    pub fn start(
        program: &Program,
        times: &Times,
        streams: &Streams,
        host: &Host,
        signals: &Signals,
    ) -> Result<Self, String> {
        let pipe = |stream| {
            Intake::open(stream, streams.limit, &streams.masks)
                .map_err(|error| format!("No pipe could be made: {error}."))
        };
        let (out, stdout) = pipe(streams.stdout)?;
        let mut intakes = vec![out];
        let stderr = if streams.stdout == streams.stderr {
            stdout.try_clone().map_err(|error| format!("No pipe could be made: {error}."))?
        } else {
            let (err, stderr) = pipe(streams.stderr)?;
            intakes.push(err);
            stderr
        };
        let meter = Meter::start();
        let begun = Instant::now();
        let leader = signals.lifted(|| spawn(program, host, stdout, stderr))?;
        Ok(Self {
            leader,
            meter,
            begun,
            grace: times.grace,
            life: Life::Running { deadline: begun.checked_add(times.timeout) },
            stopped: None,
            intakes,
            children: Children::Left,
            peak_bytes: 0,
        })
    }

    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.intakes.iter().filter_map(Intake::fd)
    }

    pub fn deadline(&self) -> Option<Instant> {
        match self.life {
            Life::Running { deadline: at } | Life::Stopping { kill_at: at } => at,
            Life::Leaving { until, .. } => Some(until),
        }
    }

    /// SIGTERM now, SIGKILL after the grace. The first cause counts.
    pub fn stop(&mut self, cause: Cause, now: Instant) {
        if let Life::Running { .. } = self.life {
            self.stopped = Some(cause);
            self.life = Life::Stopping { kill_at: now.checked_add(self.grace) };
            signal_all(self.leader, Signal::SIGTERM);
        }
    }

    /// Reads, takes leave of the dead, keeps the deadlines. Call whenever the init wakes.
    pub fn advance(&mut self, now: Instant, buffer: &mut [u8], journal: &mut Journal) {
        self.keep_time(now);
        self.take_leave(now);
        self.intakes.iter_mut().for_each(|intake| intake.read(buffer, journal));
    }

    /// Nothing of the program is left, or what is left can't be killed.
    pub fn is_over(&self, now: Instant) -> bool {
        let Life::Leaving { until, .. } = self.life else { return false };
        let silent = self.fds().next().is_none();
        (silent && self.children == Children::Gone) || now >= until
    }

    /// `None` while it is not over.
    pub fn close(self, journal: &mut Journal) -> Option<Outcome> {
        let Life::Leaving { status, wall, .. } = self.life else { return None };
        let streams = self.intakes.into_iter().map(|intake| intake.finish(journal)).collect();
        Some(Outcome {
            status,
            stopped: self.stopped,
            oom_killed: self.meter.saw_oom_kill(),
            wall,
            cpu: self.meter.cpu(),
            streams,
            peak_bytes: self.peak_bytes,
            survived: self.children == Children::Left,
        })
    }

    fn keep_time(&mut self, now: Instant) {
        match &mut self.life {
            Life::Running { deadline: Some(at) } if *at <= now => self.stop(Cause::TimedOut, now),
            Life::Stopping { kill_at: Some(at) } if *at <= now => {
                *at = now + INSIST;
                signal_all(self.leader, Signal::SIGKILL);
            }
            _ => {}
        }
    }

    fn take_leave(&mut self, now: Instant) {
        let (mut end, leader) = (None, self.leader);
        self.children = reap(|one| {
            end = end.or((one.pid == leader).then_some(one.status));
            self.peak_bytes = self.peak_bytes.max(one.peak_bytes);
        });
        if let Some(status) = end {
            let wall = now.saturating_duration_since(self.begun);
            self.life = Life::Leaving { status, wall, until: now + LEAVE };
        }
        if let (Life::Leaving { .. }, Children::Left) = (&self.life, self.children) {
            signal_all(self.leader, Signal::SIGKILL);
        } else if end.is_some() {
            // Outside of a container what is left are no children of the init, but still in the group.
            signal_all(self.leader, Signal::SIGKILL);
        }
    }
}
