//! From the report of an install to what users are told.

use std::time::Duration;

use rgrid_api::units::{format_duration, format_size};
use rgrid_init::{Ending, Exit};

use crate::execution::{FailureKind, Outcome, diagnosis};

/// How much of pip's own words goes into the error.
const REASON_MAX: usize = 700;
/// Lines below an error of pip's that belong to it.
const DETAILS: usize = 4;

/// What an install may use.
#[derive(Debug, Clone, Copy)]
pub struct InstallLimits {
    pub timeout: Duration,
    pub memory: u64,
    /// Disk.
    pub size: u64,
}

/// None: it went well. `said` is all that it said.
pub fn judge_install(exit: &Exit, limits: &InstallLimits, said: &str) -> Option<Outcome> {
    let words = match &exit.ending {
        Ending::Exited { code: 0 } => return None,
        Ending::Cancelled => return Some(Outcome::Cancelled),
        Ending::SetupFailed { code } => {
            format!("the requirements could not be installed (exit code {code}): {}", reason(said))
        }
        Ending::SetupTimedOut => timed_out(limits, said),
        Ending::OutOfMemory => format!(
            "the install of the requirements needed more than its {} of memory; the server's install.memory allows \
             more",
            format_size(limits.memory)
        ),
        Ending::CouldNotStart { reason } => format!("the install could not be started: {reason}"),
        Ending::Exited { .. } | Ending::Signalled { .. } | Ending::TimedOut => {
            format!("the requirements were installed, but could not be kept: {}", reason(said))
        }
    };
    Some(failed(words))
}

/// The disk was full before the install was done.
pub fn too_large_install(limits: &InstallLimits) -> Outcome {
    failed(format!(
        "the requirements need more than {} of disk; name fewer or smaller ones (the server's install.max_size \
         allows more)",
        format_size(limits.size)
    ))
}

/// It stands in the log and on terminals: what a package's own build says must not steer them.
fn failed(error: String) -> Outcome {
    let error = error.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Outcome::Failed { kind: FailureKind::Install, error }
}

fn timed_out(limits: &InstallLimits, said: &str) -> String {
    let after = format_duration(limits.timeout);
    let last = last_lines(said, 1);
    let words = format!("the install of the requirements was not done after {after}, its time limit");
    if last.is_empty() { words } else { format!("{words}; pip said last: {last}") }
}

/// What its words mean, where that is known, and the words themselves.
fn reason(said: &str) -> String {
    let words = words(said);
    match diagnosis::explain_install(said) {
        Some(cause) => format!("{cause} (it said: {words})"),
        None => words,
    }
}

/// pip's own errors, or else its last lines.
fn words(said: &str) -> String {
    let errors = errors(said);
    let text = if errors.is_empty() { last_lines(said, 3) } else { errors.join(" / ") };
    if text.is_empty() {
        return "it said nothing".to_owned();
    }
    text.chars().take(REASON_MAX).collect()
}

/// Lines that begin with `ERROR:` with the indented ones below them, and what a build itself called an error.
fn errors(said: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut details = 0;
    for line in said.lines() {
        let plain = line.trim();
        let of_pip = line.starts_with("ERROR:");
        let of_a_build = plain.starts_with("error: ")
            && !plain.starts_with("error: subprocess-exited")
            && !plain.starts_with("error: legacy-install");
        let below = details > 0 && line.starts_with(' ') && !plain.is_empty();
        details = match (of_pip, below) {
            (true, _) => DETAILS,
            (false, true) => details - 1,
            (false, false) => 0,
        };
        if (of_pip || of_a_build || below) && !found.iter().any(|known| known == plain) {
            found.push(plain.to_owned());
        }
    }
    found
}

fn last_lines(said: &str, count: usize) -> String {
    let mut last: Vec<&str> =
        said.lines().map(str::trim).filter(|line| !line.is_empty()).rev().take(count).collect();
    last.reverse();
    last.join(" / ").chars().take(REASON_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pips_own_reason_is_told() {
        let said = "Collecting nonsense\nERROR: something that is not known\n";
        assert_eq!(reason(said), "ERROR: something that is not known");
        assert_eq!(reason("python3: No module named pip\n"), "python3: No module named pip");
    }

    #[test]
    fn what_an_install_says_cannot_steer_a_terminal() {
        let told = failed(reason("ERROR: \u{1b}[2Jgone\rand \u{9b}31m back\n"));
        assert_eq!(told.error(), Some("ERROR:  [2Jgone and  31m back"));
    }

    #[test]
    fn what_stands_below_an_error_belongs_to_it() {
        let said = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES.\n    six==1.16.0 from https://x/six.whl:\n\
                    \u{20}       Expected sha256 00\n             Got        8a\n\n  Downloading six\n";
        assert!(reason(said).ends_with("Expected sha256 00 / Got        8a"), "{}", reason(said));
    }

    #[test]
    fn a_missing_compiler_is_told_as_what_it_is() {
        let said = "  error: subprocess-exited-with-error\n  \u{2570}\u{2500}> [11 lines of output]\n\
                    \u{20}     error: command 'gcc' failed: No such file or directory\n      [end of output]\n\
                    \u{20} ERROR: Failed building wheel for ujson\n      error: command 'gcc' failed: No such file or \
                    directory\nERROR: Could not build wheels for ujson\n";
        let reason = reason(said);
        assert!(reason.contains("error: command 'gcc' failed"), "{reason}");
        assert!(reason.contains("compiled with gcc") && reason.contains("no compiler"), "{reason}");
    }

    #[test]
    fn a_hanging_index_is_told_with_pips_last_words() {
        let limits = InstallLimits { timeout: Duration::from_secs(3), memory: 0, size: 0 };
        let words = timed_out(&limits, "Looking in indexes: http://10.0.0.1\n\n");
        assert!(words.contains("after 3s") && words.ends_with("http://10.0.0.1"), "{words}");
    }
}
