//! What whoever waited for an execution is told at its end.

use std::collections::BTreeMap;

use rgrid_api::{Execution, FailureKind, Status, Stream};

use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::console::Console;
use crate::output::{hints, truncation};

/// What of the script's output has been on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Output,
    Nothing,
}

/// Warns of what was cut, says what went wrong, and gives the code to leave with.
pub fn conclude(ended: &Execution, seen: Seen, console: &Console) -> Exit {
    if seen == Seen::Output {
        warn_of_cuts(ended, &[Stream::Stdout, Stream::Stderr], console);
    }
    warn_of_left_out(ended, console);
    if let Some(failure) = failure(ended, seen) {
        console.error(&failure);
    }
    Exit::of(ended)
}

/// Warns of files that were not kept.
pub fn warn_of_left_out(execution: &Execution, console: &Console) {
    for sentence in &execution.outputs_left_out {
        console.warning(&format!("files: {}", sentence.trim_end_matches('.')));
    }
}

/// Warns that of these streams so many bytes were not shown to somebody who followed.
pub fn warn_of_missing(ended: &Execution, missing: &BTreeMap<Stream, u64>, console: &Console) {
    for (&stream, &missing) in missing {
        let total = match stream {
            Stream::Stdout => ended.stdout_bytes,
            Stream::Stderr => ended.stderr_bytes,
            // How much it said in all is not told.
            Stream::Install => continue,
        };
        console.warning(&truncation::cut_at(stream, total.saturating_sub(missing), total));
    }
}

pub fn warn_of_cuts(execution: &Execution, streams: &[Stream], console: &Console) {
    if !execution.output_truncated {
        return;
    }
    for &stream in streams {
        let (text, total) = match stream {
            Stream::Stdout => (&execution.stdout, execution.stdout_bytes),
            Stream::Stderr => (&execution.stderr, execution.stderr_bytes),
            Stream::Install => continue,
        };
        if let Some(warning) = truncation::warning(stream, text.as_deref().unwrap_or_default(), total) {
            console.warning(&warning);
        }
    }
}

/// None for one that completed.
fn failure(ended: &Execution, seen: Seen) -> Option<Failure> {
    let what = match ended.status {
        Status::Completed => return None,
        Status::Cancelled => format!("{} was cancelled", ended.id),
        _ => ended.execution_error.clone().unwrap_or_else(|| format!("{} failed", ended.id)),
    };
    // Whoever has read the traceback needs no pointer to it.
    let hint = match (seen, ended.failure_kind) {
        (Seen::Output, Some(FailureKind::Exit)) => Some(format!("`rgrid why {}` tells more", ended.id)),
        _ => hints::of(ended),
    };
    Some(Failure { hint, ..Failure::new(Exit::of(ended), what) })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// One that says as little as possible.
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
    fn a_failure_is_told_in_the_servers_sentence() {
        let sentence = "the script ended with exit code 3".to_owned();
        let ended = Execution {
            failure_kind: Some(FailureKind::Exit),
            exit_code: Some(3),
            execution_error: Some(sentence.clone()),
            ..execution("exec_1", Status::Failed)
        };
        let failure = failure(&ended, Seen::Nothing).unwrap();
        assert_eq!((failure.what, failure.exit), (sentence, Exit::Script(3)));
        assert_eq!(failure.hint.as_deref(), Some("see what it said with `rgrid logs exec_1`"));
    }

    #[test]
    fn a_success_has_nothing_to_tell() {
        assert_eq!(failure(&execution("exec_1", Status::Completed), Seen::Output), None);
        let cancelled = failure(&execution("exec_1", Status::Cancelled), Seen::Output).unwrap();
        assert!(cancelled.what.contains("was cancelled"));
    }
}
