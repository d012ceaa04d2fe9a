//! Suggests the command that fixes a failed execution.

use rgrid_api::{Execution, FailureKind, Status};

/// `None` if the execution has not failed.
pub fn of(execution: &Execution) -> Option<String> {
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
    let script = if execution.script.starts_with("stdin.") { "-" } else { &execution.script };
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
mod tests {
    use rgrid_api::NextTry;

    use super::*;
    use crate::output::report::tests::execution;

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
            assert_eq!(of(&timeout), Some(expected));
        }
        for (mebibytes, option) in [(128, "128m"), (1900, "1900m"), (2048, "2g")] {
            let hint = of(&failed(FailureKind::OutOfMemory, None, Some(mebibytes))).unwrap();
            assert!(hint.contains(&format!("--memory {option} ")), "{hint}");
        }
        let hint = of(&failed(FailureKind::OutOfMemory, None, None)).unwrap();
        assert!(hint.contains("the most memory that the server allows (sandbox.max_memory)"), "{hint}");
    }

    #[test]
    fn every_failure_has_a_command_and_a_success_has_none() {
        for kind in FailureKind::ALL {
            assert!(of(&failed(kind, None, None)).unwrap().contains("`rgrid "), "{kind}");
        }
        assert_eq!(of(&execution("exec_1", Status::Completed)), None);
    }
}
