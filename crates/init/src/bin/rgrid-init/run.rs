//! A job from its start to its exit event: setup, then script.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rgrid_init::{Event, Exit, ExitReason, Job, JobStep, Limits, SecretPatterns, Setup, Stream, StreamEnd};

use crate::host::Host;
use crate::journal::Journal;
use crate::meter::Peak;
use crate::outputs;
use crate::signals::Signals;
use crate::spawn::Program;
use crate::step::{Cause, Outcome, Step, Streams, Times};
use crate::traffic::Traffic;

pub struct Run {
    id: String,
    script: Program,
    limits: Limits,
    masks: Arc<SecretPatterns>,
    inputs: BTreeSet<String>,
    phase: JobStep,
    step: Option<Step>,
    cancelled: bool,
    /// Before anything of the job ran.
    traffic: Traffic,
    peak: Peak,
    /// Of the largest process.
    peak_bytes: u64,
    /// Of the job's processes, that may still say or do something.
    survivors: bool,
    oom_killed: bool,
    /// What is known of the exit so far.
    exit: Exit,
}

impl Run {
    /// Starts the setup, if there is one, else the script.
    pub fn start(
        job: Job,
        masks: SecretPatterns,
        inputs: BTreeSet<String>,
        host: &Host,
        signals: &Signals,
        journal: &mut Journal,
    ) -> Self {
        let env = job.env.into_iter().chain(job.secrets).collect();
        let mut run = Self {
            id: job.id,
            script: Program { argv: job.argv, env },
            masks: Arc::new(masks),
            limits: job.limits,
            inputs,
            phase: JobStep::Setup,
            step: None,
            cancelled: false,
            traffic: Traffic::now(),
            peak: Peak::so_far(),
            peak_bytes: 0,
            survivors: false,
            oom_killed: false,
            exit: Exit::new(ExitReason::CouldNotStart { reason: "Nothing was started.".to_owned() }),
        };
        match job.setup {
            Some(setup) => run.start_setup(setup, host, signals, journal),
            None => run.start_script(host, signals, journal),
        }
        run
    }

    /// A job that can't be started at all.
    pub fn refused(reason: &str) -> Exit {
        Exit::new(ExitReason::CouldNotStart { reason: reason.to_owned() })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Why another job should not have the sandbox, as far as the exit does not tell.
    pub fn unfit(&self) -> Option<&'static str> {
        match self {
            Self { survivors: true, .. } => Some("A process of the former job can't be ended."),
            Self { oom_killed: true, .. } => Some("The former job had a process killed for its memory."),
            _ => None,
        }
    }

    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.step.iter().flat_map(Step::fds)
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.step.as_ref().and_then(Step::deadline)
    }

    pub fn cancel(&mut self, now: Instant) {
        // Remembered too, for a setup that has just ended: no script follows it then.
        self.cancelled = true;
        if let Some(step) = &mut self.step {
            step.stop(Cause::Cancelled, now);
        }
    }

    /// The exit, once the run has ended.
    pub fn advance(
        &mut self,
        buffer: &mut [u8],
        host: &Host,
        signals: &Signals,
        journal: &mut Journal,
    ) -> Option<Exit> {
        let now = Instant::now();
        if let Some(step) = &mut self.step {
            step.advance(now, buffer, journal);
            if !step.is_over(now) {
                return None;
            }
        }
        let outcome = self.step.take().and_then(|step| step.close(journal));
        match (outcome, self.phase) {
            (Some(setup), JobStep::Setup) => self.after_setup(setup, host, signals, journal),
            (Some(script), JobStep::Script) => self.after_script(script, host),
            // It never started: `exit` says why.
            (None, _) => {}
        }
        self.step.is_none().then(|| self.exit())
    }

    fn start_setup(&mut self, setup: Setup, host: &Host, signals: &Signals, journal: &mut Journal) {
        let program = Program { argv: setup.argv, env: setup.env };
        let streams = self.streams(Stream::Install, Stream::Install);
        let times = self.times(setup.timeout_ms);
        self.begin(JobStep::Setup, Step::start(&program, &times, &streams, host, signals), journal);
    }

    fn start_script(&mut self, host: &Host, signals: &Signals, journal: &mut Journal) {
        let streams = self.streams(Stream::Stdout, Stream::Stderr);
        let times = self.times(self.limits.timeout_ms);
        self.begin(JobStep::Script, Step::start(&self.script, &times, &streams, host, signals), journal);
    }

    fn begin(&mut self, phase: JobStep, step: Result<Step, String>, journal: &mut Journal) {
        self.phase = phase;
        match step {
            Ok(step) => {
                journal.append(Event::Started { step: phase });
                self.step = Some(step);
            }
            Err(reason) => self.exit.reason = ExitReason::CouldNotStart { reason },
        }
    }

    fn after_setup(&mut self, setup: Outcome, host: &Host, signals: &Signals, journal: &mut Journal) {
        self.note(&setup);
        self.exit.setup_ms = milliseconds(setup.wall);
        let reason = exit_reason_of_setup(&setup, self.cancelled);
        self.keep_streams(setup.streams);
        match reason {
            Some(reason) => self.exit.reason = reason,
            None => self.start_script(host, signals, journal),
        }
    }

    fn after_script(&mut self, script: Outcome, host: &Host) {
        self.note(&script);
        self.exit.reason = exit_reason_of_script(&script);
        self.exit.wall_ms = milliseconds(script.wall);
        self.exit.cpu_ms = milliseconds(script.cpu);
        self.keep_streams(script.streams);
        let found = outputs::collect(host, &self.inputs, &self.limits);
        self.exit.outputs = found.files;
        self.exit.outputs_left_out = found.left_out;
    }

    fn note(&mut self, step: &Outcome) {
        self.peak_bytes = self.peak_bytes.max(step.peak_bytes);
        self.survivors |= step.survived;
        self.oom_killed |= step.oom_killed;
    }

    fn keep_streams(&mut self, streams: Vec<(Stream, StreamEnd)>) {
        for (stream, end) in streams {
            match stream {
                Stream::Install => self.exit.install = end,
                Stream::Stdout => self.exit.stdout = end,
                Stream::Stderr => self.exit.stderr = end,
            }
        }
    }

    fn exit(&mut self) -> Exit {
        self.exit.peak_memory_bytes = self.peak.since(self.peak_bytes);
        // Whoever has ended can't say anything any more.
        self.exit.network_used = self.survivors || self.traffic.has_grown();
        self.exit.clone()
    }

    fn streams(&self, stdout: Stream, stderr: Stream) -> Streams {
        Streams { stdout, stderr, limit: self.limits.output_limit, masks: Arc::clone(&self.masks) }
    }

    fn times(&self, timeout_ms: u64) -> Times {
        Times {
            timeout: Duration::from_millis(timeout_ms),
            grace: Duration::from_millis(self.limits.grace_ms),
        }
    }
}

/// `None` when the script may follow.
fn exit_reason_of_setup(setup: &Outcome, cancelled: bool) -> Option<ExitReason> {
    let code = setup.status.code().unwrap_or(128 + signal(setup.status));
    match setup.stopped {
        Some(Cause::TimedOut) => Some(ExitReason::SetupTimedOut),
        Some(Cause::Cancelled) => Some(ExitReason::Cancelled),
        None if code != 0 && setup.oom_killed => Some(ExitReason::OutOfMemory),
        None if code != 0 => Some(ExitReason::SetupFailed { code }),
        None => cancelled.then_some(ExitReason::Cancelled),
    }
}

fn exit_reason_of_script(script: &Outcome) -> ExitReason {
    match (script.stopped, script.status.code()) {
        (Some(Cause::TimedOut), _) => ExitReason::TimedOut,
        (Some(Cause::Cancelled), _) => ExitReason::Cancelled,
        (None, Some(0)) => ExitReason::Exited { code: 0 },
        (None, _) if script.oom_killed => ExitReason::OutOfMemory,
        (None, Some(code)) => ExitReason::Exited { code },
        (None, None) => ExitReason::Signalled { signal: signal(script.status) },
    }
}

fn signal(status: ExitStatus) -> i32 {
    status.signal().unwrap_or(0)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(raw: i32, stopped: Option<Cause>, oom_killed: bool) -> Outcome {
        let (wall, cpu) = (Duration::ZERO, Duration::ZERO);
        let status = ExitStatus::from_raw(raw);
        let (peak_bytes, survived, streams) = (0, false, vec![]);
        Outcome { status, stopped, oom_killed, wall, cpu, streams, peak_bytes, survived }
    }

    const EXIT_3: i32 = 3 << 8;
    const SIGKILL: i32 = 9;

    #[test]
    fn a_script_ends_by_the_first_reason_that_holds() {
        let timed_out = outcome(0, Some(Cause::TimedOut), true);
        assert_eq!(exit_reason_of_script(&timed_out), ExitReason::TimedOut);
        assert_eq!(exit_reason_of_script(&outcome(SIGKILL, None, true)), ExitReason::OutOfMemory);
        assert_eq!(exit_reason_of_script(&outcome(EXIT_3, None, true)), ExitReason::OutOfMemory);
        assert_eq!(exit_reason_of_script(&outcome(0, None, true)), ExitReason::Exited { code: 0 });
        assert_eq!(exit_reason_of_script(&outcome(EXIT_3, None, false)), ExitReason::Exited { code: 3 });
        assert_eq!(
            exit_reason_of_script(&outcome(SIGKILL, None, false)),
            ExitReason::Signalled { signal: 9 }
        );
    }

    #[test]
    fn a_script_follows_only_a_setup_that_succeeded_and_was_not_cancelled() {
        assert_eq!(exit_reason_of_setup(&outcome(0, None, true), false), None);
        assert_eq!(exit_reason_of_setup(&outcome(0, None, false), true), Some(ExitReason::Cancelled));
        assert_eq!(exit_reason_of_setup(&outcome(SIGKILL, None, true), false), Some(ExitReason::OutOfMemory));
        let failed = Some(ExitReason::SetupFailed { code: 137 });
        assert_eq!(exit_reason_of_setup(&outcome(SIGKILL, None, false), false), failed);
    }
}
