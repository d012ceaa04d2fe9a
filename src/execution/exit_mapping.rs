//! Maps the exit that the init reports to the outcome that users see.

use std::time::Duration;

use rgrid_api::Usage;
use rgrid_api::names::is_display_control;
use rgrid_api::units::{format_duration, format_size};
use rgrid_init::{Exit, ExitReason};

use crate::execution::{FailureKind, Outcome, diagnosis};

/// Maximum length of pip's output in an error, in characters.
const REASON_MAX: usize = 700;
/// Indented lines below an `ERROR:` line that are included in the error.
const DETAIL_LINES: usize = 4;

/// Limits that a submission may choose.
#[derive(Debug, Clone, Copy)]
pub struct RunLimits {
    pub timeout: Duration,
    pub memory: u64,
}

/// Limits of an install. `size` is disk space in bytes.
#[derive(Debug, Clone, Copy)]
pub struct InstallLimits {
    pub timeout: Duration,
    pub memory: u64,
    pub size: u64,
}

/// The outcome of a script. `max` are the highest limits that this server accepts.
pub fn map_exit(exit: &Exit, limits: &RunLimits, max: &RunLimits) -> Outcome {
    let advice = |raise: bool, option, setting| match raise {
        true => format!("raise the limit with {option}"),
        false => format!("this is the server's maximum ({setting})"),
    };
    let (kind, error) = match &exit.reason {
        ExitReason::Exited { code: 0 } => return Outcome::Completed,
        ExitReason::Cancelled => return Outcome::Cancelled,
        ExitReason::Exited { code } => (FailureKind::Exit, format!("the script ended with exit code {code}")),
        ExitReason::Signalled { signal } => {
            let name = signal_name(*signal);
            (FailureKind::Exit, format!("the script was ended by signal {signal}{name}"))
        }
        ExitReason::TimedOut => {
            let timeout = format_duration(limits.timeout);
            let advice = advice(limits.timeout < max.timeout, "--timeout", "execution.max_timeout");
            (FailureKind::Timeout, format!("the script exceeded its time limit of {timeout}; {advice}"))
        }
        ExitReason::OutOfMemory => {
            let (limit, peak) = (format_size(limits.memory), format_size(exit.peak_memory_bytes));
            let advice = advice(limits.memory < max.memory, "--memory", "sandbox.max_memory");
            let error = match stayed_below(limits.memory, exit) {
                true => format!(
                    "the script was killed because the worker's host ran out of memory (peak {peak}, below its limit of \
                     {limit}); lower worker.slots there"
                ),
                false => format!("the script exceeded its memory limit of {limit} (peak {peak}); {advice}"),
            };
            (FailureKind::OutOfMemory, error)
        }
        // Requirements are installed by a job of their own, so a script's job never has a setup.
        ExitReason::SetupFailed { .. } | ExitReason::SetupTimedOut => {
            (FailureKind::Internal, "the sandbox reported a setup step that was not requested".to_owned())
        }
        ExitReason::CouldNotStart { reason } => {
            (FailureKind::Image, format!("the script could not be started: {reason}"))
        }
    };
    Outcome::Failed { kind, error }
}

fn stayed_below(limit: u64, exit: &Exit) -> bool {
    Usage { cpu_ms: exit.cpu_ms, peak_memory_bytes: exit.peak_memory_bytes }.stayed_below(limit)
}

/// The exit code in the form that a shell reports it; `None` if the script did not end by itself.
pub fn exit_code(exit: &Exit) -> Option<i32> {
    match exit.reason {
        ExitReason::Exited { code } => Some(code),
        ExitReason::Signalled { signal } => Some(128 + signal),
        _ => None,
    }
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

/// The outcome of an install that failed; `None` if it succeeded. `output` is everything that it printed.
pub fn map_install_exit(exit: &Exit, limits: &InstallLimits, output: &str) -> Option<Outcome> {
    let error = match &exit.reason {
        ExitReason::Exited { code: 0 } => return None,
        ExitReason::Cancelled => return Some(Outcome::Cancelled),
        ExitReason::SetupFailed { code } => {
            format!("the requirements could not be installed (exit code {code}): {}", install_reason(output))
        }
        ExitReason::SetupTimedOut => {
            let timeout = format_duration(limits.timeout);
            let last = match last_lines(output, 1) {
                last if last.is_empty() => last,
                last => format!("; pip last printed: {last}"),
            };
            format!("the installation of the requirements exceeded its time limit of {timeout}{last}")
        }
        ExitReason::OutOfMemory if stayed_below(limits.memory, exit) => format!(
            "the installation of the requirements was killed because the worker's host ran out of memory (peak {}, \
             below its limit of {}); lower worker.slots there",
            format_size(exit.peak_memory_bytes),
            format_size(limits.memory)
        ),
        ExitReason::OutOfMemory => format!(
            "the installation of the requirements exceeded its memory limit of {}; the server's install.memory \
             sets it",
            format_size(limits.memory)
        ),
        ExitReason::CouldNotStart { reason } => format!("the installation could not be started: {reason}"),
        ExitReason::Exited { .. } | ExitReason::Signalled { .. } | ExitReason::TimedOut => {
            format!("the requirements were installed but could not be saved: {}", install_reason(output))
        }
    };
    Some(install_failed(error))
}

/// The outcome of an install that filled its disk space.
pub fn install_too_large(limits: &InstallLimits) -> Outcome {
    install_failed(format!(
        "the requirements need more than {} of disk space; use fewer or smaller packages (the server's \
         install.max_size sets the limit)",
        format_size(limits.size)
    ))
}

/// A package's build output must not control a terminal.
fn install_failed(error: String) -> Outcome {
    let error = error.chars().map(|c| if is_display_control(c) { ' ' } else { c }).collect();
    Outcome::Failed { kind: FailureKind::Install, error }
}

/// The diagnosed cause, if any, with pip's own errors or else its last lines.
fn install_reason(output: &str) -> String {
    let errors = pip_errors(output);
    let text = if errors.is_empty() { last_lines(output, 3) } else { errors.join(" / ") };
    let text = match text.is_empty() {
        true => "no output".to_owned(),
        false => text.chars().take(REASON_MAX).collect(),
    };
    match diagnosis::explain_install(output) {
        Some(cause) => format!("{cause} (output: {text})"),
        None => text,
    }
}

/// Lines that begin with `ERROR:`, the indented lines below them, and the errors of a package's own build.
fn pip_errors(output: &str) -> Vec<String> {
    let mut errors: Vec<String> = Vec::new();
    let mut details_left = 0;
    for line in output.lines() {
        let trimmed = line.trim();
        let is_pip_error = line.starts_with("ERROR:");
        let is_build_error = trimmed.starts_with("error: ")
            && !trimmed.starts_with("error: subprocess-exited")
            && !trimmed.starts_with("error: legacy-install");
        let is_detail = details_left > 0 && line.starts_with(' ') && !trimmed.is_empty();
        details_left = match (is_pip_error, is_detail) {
            (true, _) => DETAIL_LINES,
            (false, true) => details_left - 1,
            (false, false) => 0,
        };
        if (is_pip_error || is_build_error || is_detail) && !errors.iter().any(|known| known == trimmed) {
            errors.push(trimmed.to_owned());
        }
    }
    errors
}

fn last_lines(output: &str, count: usize) -> String {
    let lines = output.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut last: Vec<&str> = lines.rev().take(count).collect();
    last.reverse();
    last.join(" / ").chars().take(REASON_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const LIMITS: RunLimits = RunLimits { timeout: Duration::from_secs(5), memory: 512 * MIB };
    const INSTALL_LIMITS: InstallLimits =
        InstallLimits { timeout: Duration::from_secs(3), memory: 256 * MIB, size: 1024 * MIB };

    fn exit(ending: ExitReason) -> Exit {
        Exit { peak_memory_bytes: 500 * MIB, ..Exit::new(ending) }
    }

    #[test]
    fn every_ending_of_a_script_maps_to_one_failure_kind_and_exit_code() {
        let cases = [
            (ExitReason::Exited { code: 0 }, None, Some(0)),
            (ExitReason::Exited { code: 3 }, Some(FailureKind::Exit), Some(3)),
            (ExitReason::Signalled { signal: 11 }, Some(FailureKind::Exit), Some(139)),
            (ExitReason::TimedOut, Some(FailureKind::Timeout), None),
            (ExitReason::OutOfMemory, Some(FailureKind::OutOfMemory), None),
            (ExitReason::Cancelled, None, None),
            (ExitReason::SetupFailed { code: 1 }, Some(FailureKind::Internal), None),
            (ExitReason::SetupTimedOut, Some(FailureKind::Internal), None),
            (ExitReason::CouldNotStart { reason: "no bash".to_owned() }, Some(FailureKind::Image), None),
        ];
        for (ending, kind, code) in cases {
            let exit = exit(ending);
            let outcome = map_exit(&exit, &LIMITS, &LIMITS);
            assert_eq!((outcome.failure_kind(), exit_code(&exit)), (kind, code), "{:?}", exit.reason);
            let expected_status = match exit.reason {
                ExitReason::Exited { code: 0 } => Outcome::Completed.status(),
                ExitReason::Cancelled => Outcome::Cancelled.status(),
                _ => rgrid_api::Status::Failed,
            };
            assert_eq!(outcome.status(), expected_status, "{:?}", exit.reason);
        }
    }

    #[test]
    fn an_exceeded_limit_is_named_with_the_way_to_raise_it() {
        let higher = RunLimits { timeout: LIMITS.timeout * 2, memory: LIMITS.memory * 2 };
        let timeout = "the script exceeded its time limit of 5s; ";
        let memory = "the script exceeded its memory limit of 512 MiB (peak 500 MiB); ";
        let cases = [
            (ExitReason::TimedOut, higher, timeout, "raise the limit with --timeout"),
            (ExitReason::TimedOut, LIMITS, timeout, "this is the server's maximum (execution.max_timeout)"),
            (ExitReason::OutOfMemory, higher, memory, "raise the limit with --memory"),
            (ExitReason::OutOfMemory, LIMITS, memory, "this is the server's maximum (sandbox.max_memory)"),
        ];
        for (ending, max, cause, advice) in cases {
            let outcome = map_exit(&exit(ending), &LIMITS, &max);
            assert_eq!(outcome.error(), Some(format!("{cause}{advice}").as_str()));
        }
    }

    #[test]
    fn a_script_that_stayed_below_its_limit_was_killed_because_the_host_ran_out_of_memory() {
        let exit = Exit { peak_memory_bytes: 120 * MIB, ..exit(ExitReason::OutOfMemory) };
        let outcome = map_exit(&exit, &LIMITS, &LIMITS);
        assert_eq!(outcome.failure_kind(), Some(FailureKind::OutOfMemory));
        let expected = "the script was killed because the worker's host ran out of memory (peak 120 MiB, below its \
                        limit of 512 MiB); lower worker.slots there";
        assert_eq!(outcome.error(), Some(expected));
        let install = map_install_exit(&exit, &INSTALL_LIMITS, "").unwrap();
        assert!(
            install.error().unwrap().contains("the worker's host ran out of memory (peak 120 MiB"),
            "{install:?}"
        );
    }

    #[test]
    fn every_ending_of_an_install_maps_to_an_outcome() {
        let cases = [
            (ExitReason::SetupFailed { code: 1 }, "could not be installed (exit code 1): last words"),
            (ExitReason::SetupTimedOut, "exceeded its time limit of 3s; pip last printed: last words"),
            (ExitReason::OutOfMemory, "exceeded its memory limit of 256 MiB"),
            (ExitReason::CouldNotStart { reason: "no pip".to_owned() }, "could not be started: no pip"),
            (ExitReason::Exited { code: 2 }, "installed but could not be saved: last words"),
            (ExitReason::Signalled { signal: 9 }, "installed but could not be saved: last words"),
            (ExitReason::TimedOut, "installed but could not be saved: last words"),
        ];
        for (ending, expected) in cases {
            let outcome = map_install_exit(&exit(ending), &INSTALL_LIMITS, "last words\n").unwrap();
            assert_eq!(outcome.failure_kind(), Some(FailureKind::Install));
            assert!(outcome.error().unwrap().contains(expected), "{outcome:?}");
        }
        assert_eq!(map_install_exit(&exit(ExitReason::Exited { code: 0 }), &INSTALL_LIMITS, ""), None);
        let cancelled = map_install_exit(&exit(ExitReason::Cancelled), &INSTALL_LIMITS, "");
        assert_eq!(cancelled, Some(Outcome::Cancelled));
        assert!(
            install_too_large(&INSTALL_LIMITS).error().unwrap().contains("more than 1 GiB of disk space")
        );
    }

    #[test]
    fn an_unknown_install_error_is_quoted() {
        let output = "Collecting nonsense\nERROR: an unknown error\n";
        assert_eq!(install_reason(output), "ERROR: an unknown error");
        assert_eq!(install_reason("python3: No module named pip\n"), "python3: No module named pip");
        assert_eq!(install_reason("\n"), "no output");
    }

    #[test]
    fn install_output_cannot_control_a_terminal() {
        let outcome = install_failed(install_reason("ERROR: \u{1b}[2Jgone\rand \u{9b}31m back\n"));
        assert_eq!(outcome.error(), Some("ERROR:  [2Jgone and  31m back"));
    }

    #[test]
    fn indented_lines_below_an_error_are_part_of_it() {
        let output = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES.\n    six==1.16.0 from https://x/six.whl:\n\
                      \u{20}       Expected sha256 00\n             Got        8a\n\n  Downloading six\n";
        let reason = install_reason(output);
        assert!(reason.ends_with("Expected sha256 00 / Got        8a"), "{reason}");
    }

    #[test]
    fn a_missing_compiler_is_diagnosed() {
        let output = "  error: subprocess-exited-with-error\n  \u{2570}\u{2500}> [11 lines of output]\n\
                      \u{20}     error: command 'gcc' failed: No such file or directory\n      [end of output]\n\
                      \u{20} ERROR: Failed building wheel for ujson\n      error: command 'gcc' failed: No such file \
                      or directory\nERROR: Could not build wheels for ujson\n";
        let reason = install_reason(output);
        assert!(reason.contains("error: command 'gcc' failed"), "{reason}");
        assert!(reason.contains("compiled with gcc") && reason.contains("no compiler"), "{reason}");
    }
}
