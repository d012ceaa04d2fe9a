//! Reports how an execution ended: errors, output or files that are incomplete, and the command that fixes it.

use std::collections::BTreeMap;

use rgrid_api::units::format_size;
use rgrid_api::{Execution, FailureKind, Status, Stream};

use crate::error::{CliError, Exit};
use crate::output::Console;

/// How the server marks a cut in the middle of a stream: `[… 3 MiB cut by RGrid …]`.
const MARKER_START: &str = "\n[… ";
const MARKER_END: &str = " cut by RGrid …]\n";
/// Longer than any size in a marker.
const MAX_SIZE_TEXT: usize = 20;

/// Whether the script's output has been printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Printed {
    Output,
    Nothing,
}

/// Prints warnings and the error of an execution that has ended, and returns the exit code.
pub fn report(ended: &Execution, printed: Printed, console: &Console) -> Exit {
    if printed == Printed::Output {
        warn_about_cuts(ended, &[Stream::Stdout, Stream::Stderr], console);
    }
    warn_about_files(ended, console);
    if let Some(error) = execution_error(ended, printed) {
        console.error(&error);
    }
    Exit::of(ended)
}

/// Warns about output files that were not kept.
pub fn warn_about_files(execution: &Execution, console: &Console) {
    for message in &execution.outputs_left_out {
        console.warning(&format!("files: {}", message.trim_end_matches('.')));
    }
}

/// Warns that this many bytes of a followed stream were not sent.
pub fn warn_about_missing(ended: &Execution, missing: &BTreeMap<Stream, u64>, console: &Console) {
    for (&stream, &missing) in missing {
        if let Some((_, total)) = stream_of(ended, stream) {
            console.warning(&cut_warning(stream, total.saturating_sub(missing), total));
        }
    }
}

pub fn warn_about_cuts(execution: &Execution, streams: &[Stream], console: &Console) {
    if !execution.output_truncated {
        return;
    }
    for &stream in streams {
        let kept =
            stream_of(execution, stream).and_then(|(text, total)| Some((kept_bytes(text, total)?, total)));
        if let Some((kept, total)) = kept {
            console.warning(&cut_warning(stream, kept, total));
        }
    }
}

/// The text and total size. The total size of the install's output is not recorded.
fn stream_of(execution: &Execution, stream: Stream) -> Option<(&str, u64)> {
    let (text, total) = match stream {
        Stream::Stdout => (&execution.stdout, execution.stdout_bytes),
        Stream::Stderr => (&execution.stderr, execution.stderr_bytes),
        Stream::Install => return None,
    };
    Some((text.as_deref().unwrap_or_default(), total))
}

fn cut_warning(stream: Stream, kept: u64, total: u64) -> String {
    format!("{stream} was cut at {} (of {})", format_size(kept), format_size(total))
}

/// How many bytes of a cut stream were kept; `None` if `text` is complete.
fn kept_bytes(text: &str, total: u64) -> Option<u64> {
    if text.len() as u64 == total {
        return None;
    }
    // A script may print such a line, too. The halves have similar lengths, so the server's marker is the one
    // that is closest to the middle.
    let cuts = text.match_indices(MARKER_START).filter_map(|(at, marker)| {
        let (size, last) = text.get(at + marker.len()..)?.split_once(MARKER_END)?;
        (size.len() <= MAX_SIZE_TEXT && !size.contains('\n')).then_some((at, last.len()))
    });
    cuts.min_by_key(|(first, last)| first.abs_diff(*last)).map(|(first, last)| (first + last) as u64)
}

/// `None` if the execution completed.
fn execution_error(ended: &Execution, printed: Printed) -> Option<CliError> {
    let message = match ended.status {
        Status::Completed => return None,
        Status::Cancelled => format!("{} was cancelled", ended.id),
        _ => ended.execution_error.clone().unwrap_or_else(|| format!("{} failed", ended.id)),
    };
    let hint = match (printed, ended.failure_kind) {
        // The traceback is already on the screen.
        (Printed::Output, Some(FailureKind::Exit)) => {
            Some(format!("see details with `rgrid why {}`", ended.id))
        }
        _ => hint_for(ended),
    };
    Some(CliError { hint, ..CliError::new(Exit::of(ended), message) })
}

/// `None` if the execution has not failed.
pub fn hint_for(execution: &Execution) -> Option<String> {
    let id = &execution.id;
    let retry = format!("run it again with `rgrid retry {id}`");
    match execution.status {
        Status::Cancelled => return Some(retry),
        Status::Failed => {}
        _ => return None,
    }
    let next_try = execution.next_try;
    Some(match execution.failure_kind {
        Some(FailureKind::Exit) | None => format!("see its output with `rgrid logs {id}`"),
        Some(FailureKind::Timeout) => match next_try.and_then(|next| next.timeout_seconds) {
            Some(seconds) => run_with(execution, &format!("--timeout {}", format_seconds(seconds))),
            None => limit_reached("time", "execution.max_timeout"),
        },
        Some(FailureKind::OutOfMemory)
            if execution.usage.is_some_and(|usage| usage.stayed_below(execution.memory_mb << 20)) =>
        {
            retry
        }
        Some(FailureKind::OutOfMemory) => match next_try.and_then(|next| next.memory_mb) {
            Some(mebibytes) => run_with(execution, &format!("--memory {}", format_mebibytes(mebibytes))),
            None => limit_reached("memory", "sandbox.max_memory"),
        },
        Some(FailureKind::Install) => format!("see the installer's output with `rgrid logs --install {id}`"),
        Some(FailureKind::Image) => "see which images the server has with `rgrid doctor`".to_owned(),
        Some(FailureKind::Output | FailureKind::Lost) => retry,
        Some(FailureKind::Internal) => format!("{retry}; check the server with `rgrid doctor`"),
    })
}

fn run_with(execution: &Execution, option: &str) -> String {
    let script = match execution.script.as_str() {
        name if name.starts_with("stdin.") => "-".to_owned(),
        name if name.starts_with('-') => format!("./{name}"),
        name => name.to_owned(),
    };
    let args = if execution.args.is_empty() { "" } else { " …" };
    format!("run it again with `rgrid run {option} {script}{args}`")
}

fn limit_reached(resource: &str, setting: &str) -> String {
    format!(
        "it already had the most {resource} that the server allows ({setting}): split its input, for example with \
         `rgrid run --batch`, or ask the server's operator"
    )
}

/// In whole minutes if possible.
fn format_seconds(seconds: f64) -> String {
    if seconds % 60.0 == 0.0 { format!("{}m", seconds / 60.0) } else { format!("{seconds}s") }
}

fn format_mebibytes(mebibytes: u64) -> String {
    if mebibytes.is_multiple_of(1024) { format!("{}g", mebibytes / 1024) } else { format!("{mebibytes}m") }
}

#[cfg(test)]
pub mod tests {
    use rgrid_api::NextTry;

    use super::*;

    /// An execution with as few values as possible.
    pub fn execution(id: &str, status: Status) -> Execution {
        Execution {
            id: id.to_owned(),
            status,
            runtime: "python:3.11".to_owned(),
            script: "script.py".to_owned(),
            args: Vec::new(),
            env_keys: Vec::new(),
            secret_keys: Vec::new(),
            created_at: "2025-11-15T16:30:00Z".to_owned(),
            started_at: None,
            completed_at: None,
            duration_ms: None,
            phase: None,
            queue_position: None,
            waits_for: None,
            phases: rgrid_api::Phases::default(),
            exit_code: None,
            stdout: None,
            stderr: None,
            stdout_bytes: 0,
            stderr_bytes: 0,
            output_truncated: false,
            pruned_at: None,
            failure_kind: None,
            execution_error: None,
            attempt: 1,
            max_attempts: 2,
            worker: None,
            timeout_seconds: 600.0,
            labels: BTreeMap::new(),
            on: BTreeMap::new(),
            priority: 0,
            memory_mb: 512,
            next_try: None,
            outputs: None,
            outputs_left_out: Vec::new(),
            usage: None,
        }
    }

    #[test]
    fn a_failure_is_reported_with_the_servers_message() {
        let message = "the script ended with exit code 3".to_owned();
        let ended = Execution {
            failure_kind: Some(FailureKind::Exit),
            exit_code: Some(3),
            execution_error: Some(message.clone()),
            ..execution("exec_1", Status::Failed)
        };
        let error = execution_error(&ended, Printed::Nothing).unwrap();
        assert_eq!((error.message, error.exit), (message, Exit::Script(3)));
        assert_eq!(error.hint.as_deref(), Some("see its output with `rgrid logs exec_1`"));
    }

    #[test]
    fn a_completed_execution_has_no_error() {
        assert_eq!(execution_error(&execution("exec_1", Status::Completed), Printed::Output), None);
        let cancelled = execution_error(&execution("exec_1", Status::Cancelled), Printed::Output).unwrap();
        assert!(cancelled.message.contains("was cancelled"));
    }

    #[test]
    fn the_kept_bytes_of_a_cut_stream_are_counted() {
        let marker = "\n[… 1 byte cut by RGrid …]\n";
        assert_eq!(kept_bytes("aaaa", 4), None);
        assert_eq!(kept_bytes(marker, marker.len() as u64), None);
        assert_eq!(kept_bytes(&format!("aaaa{marker}zzzz"), 9), Some(8));
        // The script printed such a line as well.
        let text = format!("a{marker}{}{marker}{}", "b".repeat(100), "c".repeat(120));
        assert_eq!(kept_bytes(&text, 4000), Some((text.len() - marker.len()) as u64));
        assert_eq!(cut_warning(Stream::Stdout, 102_400, 3_250_586), "stdout was cut at 100 KiB (of 3.1 MiB)");
    }

    fn failed(kind: FailureKind, timeout_seconds: Option<f64>, memory_mb: Option<u64>) -> Execution {
        let next_try = Some(NextTry { timeout_seconds, memory_mb });
        Execution { failure_kind: Some(kind), next_try, ..execution("exec_1", Status::Failed) }
    }

    #[test]
    fn a_limit_is_raised_as_far_as_the_server_allows() {
        for (seconds, option) in [(1.0, "1s"), (90.0, "90s"), (600.0, "10m")] {
            let args = vec!["a".to_owned()];
            let timeout = Execution { args, ..failed(FailureKind::Timeout, Some(seconds), None) };
            let expected = format!("run it again with `rgrid run --timeout {option} script.py …`");
            assert_eq!(hint_for(&timeout), Some(expected));
        }
        let script = "--help".to_owned();
        let timeout = Execution { script, ..failed(FailureKind::Timeout, Some(1.0), None) };
        assert_eq!(
            hint_for(&timeout),
            Some("run it again with `rgrid run --timeout 1s ./--help`".to_owned())
        );
        for (mebibytes, option) in [(128, "128m"), (1900, "1900m"), (2048, "2g")] {
            let hint = hint_for(&failed(FailureKind::OutOfMemory, None, Some(mebibytes))).unwrap();
            assert!(hint.contains(&format!("--memory {option} ")), "{hint}");
        }
        let hint = hint_for(&failed(FailureKind::OutOfMemory, None, None)).unwrap();
        assert!(hint.contains("the most memory that the server allows (sandbox.max_memory)"), "{hint}");
        let usage = Some(rgrid_api::Usage { cpu_ms: 0, peak_memory_bytes: 100 << 20 });
        let host = Execution { memory_mb: 512, usage, ..failed(FailureKind::OutOfMemory, None, None) };
        assert_eq!(hint_for(&host), Some("run it again with `rgrid retry exec_1`".to_owned()));
    }

    #[test]
    fn every_failure_has_a_command_and_a_success_has_none() {
        for kind in FailureKind::ALL {
            assert!(hint_for(&failed(kind, None, None)).unwrap().contains("`rgrid "), "{kind}");
        }
        assert_eq!(hint_for(&execution("exec_1", Status::Completed)), None);
    }
}
