//! From the init's report to what users are told.

use std::time::Duration;

use rgrid_api::units::{format_duration, format_size};
use rgrid_init::{Ending, Exit};

use crate::execution::{FailureKind, Outcome, diagnosis};

/// How much of pip's own words goes into the error.
const REASON_MAX: usize = 500;

#[derive(Debug, PartialEq, Eq)]
pub struct Judged {
    pub outcome: Outcome,
    pub exit_code: Option<i32>,
}

/// `installed` is what the install of the requirements said.
pub fn judge(
    exit: &Exit,
    timeout: Duration,
    memory: u64,
    install_timeout: Duration,
    installed: &str,
    network: bool,
) -> Judged {
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
            let after = format_duration(timeout);
            let words = format!(
                "the script was still running after {after}, its time limit; ask for more with --timeout"
            );
            (failed(FailureKind::Timeout, words), None)
        }
        Ending::OutOfMemory => {
            let (limit, peak) = (format_size(memory), format_size(exit.peak_memory_bytes));
            let words = format!(
                "the script needed more than its {limit} of memory (peak {peak}); ask for more with --memory"
            );
            (failed(FailureKind::OutOfMemory, words), None)
        }
        Ending::Cancelled => (Outcome::Cancelled, None),
        Ending::SetupFailed { code } => {
            let words = format!(
                "the requirements could not be installed (exit code {code}): {}",
                reason(installed, network)
            );
            (failed(FailureKind::Install, words), None)
        }
        Ending::SetupTimedOut => {
            let after = format_duration(install_timeout);
            let words = format!("the install of the requirements was not done after {after}, its time limit");
            (failed(FailureKind::Install, words), None)
        }
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

/// What its words mean; pip's own errors; or else its last lines.
fn reason(installed: &str, network: bool) -> String {
    if let Some(cause) = diagnosis::explain_install(installed, network) {
        return cause;
    }
    let errors: Vec<&str> = installed.lines().filter(|line| line.starts_with("ERROR:")).collect();
    let lines = if errors.is_empty() {
        let mut last: Vec<&str> =
            installed.lines().filter(|line| !line.trim().is_empty()).rev().take(3).collect();
        last.reverse();
        last
    } else {
        errors
    };
    let text = lines.join(" / ");
    if text.is_empty() {
        return "it said nothing; see `rgrid logs --install`".to_owned();
    }
    text.chars().take(REASON_MAX).collect()
}

#[cfg(test)]
mod tests {
    use rgrid_init::StreamEnd;

    use super::*;

    fn judged(ending: Ending, installed: &str) -> Judged {
        let none = StreamEnd::default;
        let exit = Exit {
            ending,
            setup_ms: 0,
            wall_ms: 0,
            cpu_ms: 0,
            peak_memory_bytes: 500 << 20,
            stdout: none(),
            stderr: none(),
            install: none(),
            outputs: Vec::new(),
            outputs_left_out: Vec::new(),
        };
        judge(&exit, Duration::from_secs(5), 512 << 20, Duration::from_secs(300), installed, true)
    }

    #[test]
    fn each_ending_has_its_kind_and_its_code() {
        let kind = |ending| {
            let judged = judged(ending, "");
            (judged.outcome.failure_kind(), judged.exit_code)
        };
        assert_eq!(kind(Ending::Exited { code: 0 }), (None, Some(0)));
        assert_eq!(kind(Ending::Exited { code: 3 }), (Some(FailureKind::Exit), Some(3)));
        assert_eq!(kind(Ending::Signalled { signal: 11 }), (Some(FailureKind::Exit), Some(139)));
        assert_eq!(kind(Ending::TimedOut), (Some(FailureKind::Timeout), None));
        assert_eq!(kind(Ending::OutOfMemory), (Some(FailureKind::OutOfMemory), None));
        assert_eq!(kind(Ending::Cancelled), (None, None));
        assert_eq!(kind(Ending::SetupTimedOut), (Some(FailureKind::Install), None));
    }

    #[test]
    fn the_sentence_names_the_limit_and_what_to_do() {
        let timeout = judged(Ending::TimedOut, "").outcome;
        assert!(
            timeout.error().unwrap().contains("after 5s") && timeout.error().unwrap().contains("--timeout")
        );
        let memory = judged(Ending::OutOfMemory, "").outcome;
        assert!(memory.error().unwrap().contains("512 MiB of memory (peak 500 MiB)"));
    }

    #[test]
    fn pips_own_reason_is_told() {
        let said = "Collecting nonsense\nERROR: No matching distribution found for nonsense\n";
        let failed = judged(Ending::SetupFailed { code: 1 }, said).outcome;
        assert!(failed.error().unwrap().contains("no package `nonsense` on the index"));
        let failed = judged(Ending::SetupFailed { code: 1 }, "Collecting x\nERROR: something else\n").outcome;
        assert!(failed.error().unwrap().ends_with("ERROR: something else"));
    }
}
