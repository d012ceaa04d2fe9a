//! A job from its start to its exit event: the optional setup, then the script.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rgrid_init::{Event, Exit, ExitReason, Job, JobStep, Limits, SecretPatterns, Stream};

use crate::journal::Journal;
use crate::outputs;
use crate::program::{Program, ProgramExit, RunningProgram, StopCause};
use crate::sandbox::Sandbox;
use crate::usage::{MemoryPeak, NetworkCounters};

pub struct RunningJob {
    id: String,
    script: Program,
    limits: Limits,
    inputs: BTreeSet<String>,
    step: JobStep,
    /// `None` if the current step could not be started.
    program: Option<RunningProgram>,
    cancelled: bool,
    /// Before the job started.
    network: NetworkCounters,
    memory_peak: MemoryPeak,
    /// Peak memory of its largest process.
    peak_bytes: u64,
    /// Some of its processes could not be killed.
    survivors: bool,
    oom_killed: bool,
    /// The exit event, as far as it is known.
    exit: Exit,
}

impl RunningJob {
    /// Starts the setup or, if there is none, the script.
    pub fn start(
        job: Job,
        secrets: SecretPatterns,
        inputs: BTreeSet<String>,
        sandbox: &Sandbox,
        journal: &mut Journal,
    ) -> Self {
        let Job { id, setup, argv, env, secrets: variables, limits } = job;
        let secrets = Arc::new(secrets);
        let program = |argv, env, timeout_ms, stdout, stderr| Program {
            argv,
            env,
            timeout: Duration::from_millis(timeout_ms),
            grace: Duration::from_millis(limits.grace_ms),
            stdout,
            stderr,
            output_limit: limits.output_limit,
            secrets: Arc::clone(&secrets),
        };
        let env = env.into_iter().chain(variables).collect();
        let mut running = Self {
            id,
            script: program(argv, env, limits.timeout_ms, Stream::Stdout, Stream::Stderr),
            limits,
            inputs,
            step: JobStep::Setup,
            program: None,
            cancelled: false,
            network: NetworkCounters::now(),
            memory_peak: MemoryPeak::now(),
            peak_bytes: 0,
            survivors: false,
            oom_killed: false,
            exit: Exit::new(ExitReason::CouldNotStart { reason: "Nothing was started.".to_owned() }),
        };
        match setup {
            Some(setup) => {
                let setup =
                    program(setup.argv, setup.env, setup.timeout_ms, Stream::Install, Stream::Install);
                running.started(RunningProgram::start(&setup, sandbox), journal);
            }
            None => running.start_script(sandbox, journal),
        }
        running
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Why no other job may use the sandbox, beyond what the exit event shows.
    pub fn not_reusable(&self) -> Option<&'static str> {
        match self {
            Self { survivors: true, .. } => Some("A process of the previous job could not be killed."),
            Self { oom_killed: true, .. } => {
                Some("A process of the previous job was killed for exceeding the memory limit.")
            }
            _ => None,
        }
    }

    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.program.iter().flat_map(RunningProgram::fds)
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.program.as_ref().and_then(RunningProgram::deadline)
    }

    pub fn cancel(&mut self, now: Instant) {
        // Recorded as well, so that no script follows a setup that has just finished.
        self.cancelled = true;
        if let Some(program) = &mut self.program {
            program.stop(StopCause::Cancelled, now);
        }
    }

    /// Returns the exit event once the job has ended.
    pub fn advance(&mut self, buffer: &mut [u8], sandbox: &Sandbox, journal: &mut Journal) -> Option<Exit> {
        let now = Instant::now();
        if let Some(program) = &mut self.program {
            program.advance(now, buffer, journal);
            if !program.is_finished(now) {
                return None;
            }
        }
        let exit = self.program.take().and_then(|program| program.into_exit(journal));
        if let Some(exit) = exit {
            self.after_step(exit, sandbox, journal);
            if self.program.is_some() {
                return None;
            }
        }
        self.exit.peak_memory_bytes = self.memory_peak.since(self.peak_bytes);
        // Only a process that is still alive could send packets later.
        self.exit.network_used = self.survivors || self.network.have_changed();
        Some(self.exit.clone())
    }

    fn start_script(&mut self, sandbox: &Sandbox, journal: &mut Journal) {
        self.step = JobStep::Script;
        self.started(RunningProgram::start(&self.script, sandbox), journal);
    }

    fn started(&mut self, program: Result<RunningProgram, String>, journal: &mut Journal) {
        match program {
            Ok(program) => {
                journal.append(Event::Started { step: self.step });
                self.program = Some(program);
            }
            Err(reason) => self.exit.reason = ExitReason::CouldNotStart { reason },
        }
    }

    fn after_step(&mut self, program: ProgramExit, sandbox: &Sandbox, journal: &mut Journal) {
        self.peak_bytes = self.peak_bytes.max(program.peak_bytes);
        self.survivors |= program.survivors;
        self.oom_killed |= program.oom_killed;
        match self.step {
            JobStep::Setup => self.exit.setup_ms = milliseconds(program.wall),
            JobStep::Script => {
                self.exit.wall_ms = milliseconds(program.wall);
                self.exit.cpu_ms = milliseconds(program.cpu);
            }
        }
        let reason = match self.step {
            JobStep::Setup => setup_failure(&program, self.cancelled),
            JobStep::Script => Some(script_exit_reason(&program)),
        };
        for (stream, end) in program.streams {
            match stream {
                Stream::Install => self.exit.install = end,
                Stream::Stdout => self.exit.stdout = end,
                Stream::Stderr => self.exit.stderr = end,
            }
        }
        let Some(reason) = reason else { return self.start_script(sandbox, journal) };
        self.exit.reason = reason;
        if self.step == JobStep::Script {
            (self.exit.outputs, self.exit.outputs_left_out) =
                outputs::collect(sandbox, &self.inputs, &self.limits);
        }
    }
}

/// `None` if the script can start.
fn setup_failure(setup: &ProgramExit, cancelled: bool) -> Option<ExitReason> {
    let code = setup.status.code().unwrap_or_else(|| 128 + signal(setup.status));
    match setup.stopped {
        Some(StopCause::TimedOut) => Some(ExitReason::SetupTimedOut),
        Some(StopCause::Cancelled) => Some(ExitReason::Cancelled),
        None if code != 0 && setup.oom_killed => Some(ExitReason::OutOfMemory),
        None if code != 0 => Some(ExitReason::SetupFailed { code }),
        None => cancelled.then_some(ExitReason::Cancelled),
    }
}

fn script_exit_reason(script: &ProgramExit) -> ExitReason {
    match (script.stopped, script.status.code()) {
        (Some(StopCause::TimedOut), _) => ExitReason::TimedOut,
        (Some(StopCause::Cancelled), _) => ExitReason::Cancelled,
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

    const EXIT_3: i32 = 3 << 8;
    const SIGKILL: i32 = 9;

    fn exit(wait_status: i32, stopped: Option<StopCause>, oom_killed: bool) -> ProgramExit {
        ProgramExit {
            status: ExitStatus::from_raw(wait_status),
            stopped,
            oom_killed,
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            streams: vec![],
            peak_bytes: 0,
            survivors: false,
        }
    }

    #[test]
    fn a_script_exits_for_the_first_reason_that_applies() {
        for (wait_status, stopped, oom_killed, expected) in [
            (0, Some(StopCause::TimedOut), true, ExitReason::TimedOut),
            (0, Some(StopCause::Cancelled), true, ExitReason::Cancelled),
            (SIGKILL, None, true, ExitReason::OutOfMemory),
            (EXIT_3, None, true, ExitReason::OutOfMemory),
            (0, None, true, ExitReason::Exited { code: 0 }),
            (EXIT_3, None, false, ExitReason::Exited { code: 3 }),
            (SIGKILL, None, false, ExitReason::Signalled { signal: 9 }),
        ] {
            assert_eq!(script_exit_reason(&exit(wait_status, stopped, oom_killed)), expected);
        }
    }

    #[test]
    fn a_script_starts_only_after_a_successful_setup_of_a_job_that_is_not_cancelled() {
        for (wait_status, stopped, oom_killed, cancelled, expected) in [
            (0, None, false, false, None),
            (0, None, true, false, None),
            (0, None, false, true, Some(ExitReason::Cancelled)),
            (0, Some(StopCause::TimedOut), false, false, Some(ExitReason::SetupTimedOut)),
            (SIGKILL, Some(StopCause::Cancelled), false, true, Some(ExitReason::Cancelled)),
            (SIGKILL, None, true, false, Some(ExitReason::OutOfMemory)),
            (EXIT_3, None, false, false, Some(ExitReason::SetupFailed { code: 3 })),
            (SIGKILL, None, false, false, Some(ExitReason::SetupFailed { code: 137 })),
        ] {
            assert_eq!(setup_failure(&exit(wait_status, stopped, oom_killed), cancelled), expected);
        }
    }
}
