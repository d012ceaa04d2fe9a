//! From the init's report to what users are told.

use std::time::Duration;

use rgrid_api::units::{format_duration, format_size};
use rgrid_init::{Ending, Exit};

use crate::execution::{FailureKind, Outcome};

#[derive(Debug, PartialEq, Eq)]
pub struct Judged {
    pub outcome: Outcome,
    pub exit_code: Option<i32>,
}

/// Limits that a submission may choose.
#[derive(Debug, Clone, Copy)]
pub struct RunLimits {
    pub timeout: Duration,
    pub memory: u64,
}

/// `most` is what another submission may ask for.
pub fn judge(exit: &Exit, had: &RunLimits, most: &RunLimits) -> Judged {
    let failed = |kind, error| Outcome::Failed { kind, error };
    let (outcome, exit_code) = match &exit.ending {
        Ending::Exited { code: 0 } => (Outcome::Completed, Some(0)),
        Ending::Exited { code } => {
            (failed(FailureKind::Exit, format!("the script ended with exit code {code}")), Some(*code))
        }
        Ending::Signalled { signal } => {
            let name = signal_name(*signal);
            (
                failed(FailureKind::Exit, format!("the script was ended by signal {signal}{name}")),
                Some(128 + signal),
            )
        }
        Ending::TimedOut => {
            let after = format_duration(had.timeout);
            let next = match had.timeout < most.timeout {
                true => "ask for more with --timeout",
                false => "that is the most that this server gives (execution.max_timeout)",
            };
            let words = format!("the script was still running after {after}, its time limit; {next}");
            (failed(FailureKind::Timeout, words), None)
        }
        Ending::OutOfMemory => {
            let (limit, peak) = (format_size(had.memory), format_size(exit.peak_memory_bytes));
            let next = match had.memory < most.memory {
                true => "ask for more with --memory",
                false => "that is the most that this server gives (sandbox.max_memory)",
            };
            let words = format!("the script needed more than its {limit} of memory (peak {peak}); {next}");
            (failed(FailureKind::OutOfMemory, words), None)
        }
        Ending::Cancelled => (Outcome::Cancelled, None),
        // A script's job has no setup: what it requires was installed before, by a job of its own.
        Ending::SetupFailed { .. } | Ending::SetupTimedOut => (
            failed(FailureKind::Internal, "the sandbox ended a setup that nobody asked for".to_owned()),
            None,
        ),
        Ending::CouldNotStart { reason } => {
            (failed(FailureKind::Image, format!("the script could not be started: {reason}")), None)
        }
    };
    Judged { outcome, exit_code }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        6 => " (SIGABRT)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(ending: Ending) -> Judged {
        let exit = Exit { peak_memory_bytes: 500 << 20, ..Exit::of(ending) };
        let had = RunLimits { timeout: Duration::from_secs(5), memory: 512 << 20 };
        judge(&exit, &had, &RunLimits { memory: 1 << 30, ..had })
    }

    #[test]
    fn each_ending_has_its_kind_and_its_code() {
        let kind = |ending| {
            let judged = judged(ending);
            (judged.outcome.failure_kind(), judged.exit_code)
        };
        assert_eq!(kind(Ending::Exited { code: 0 }), (None, Some(0)));
        assert_eq!(kind(Ending::Exited { code: 3 }), (Some(FailureKind::Exit), Some(3)));
        assert_eq!(kind(Ending::Signalled { signal: 11 }), (Some(FailureKind::Exit), Some(139)));
        assert_eq!(kind(Ending::TimedOut), (Some(FailureKind::Timeout), None));
        assert_eq!(kind(Ending::OutOfMemory), (Some(FailureKind::OutOfMemory), None));
        assert_eq!(kind(Ending::Cancelled), (None, None));
    }

    #[test]
    fn the_sentence_names_the_limit_and_what_to_do() {
        let timeout = judged(Ending::TimedOut).outcome;
        assert!(timeout.error().unwrap().ends_with(
            "after 5s, its time limit; that is the most that this server gives (execution.max_timeout)"
        ));
        let memory = judged(Ending::OutOfMemory).outcome;
        assert!(
            memory.error().unwrap().contains("512 MiB of memory (peak 500 MiB); ask for more with --memory")
        );
    }
}
