//! The command that mends a failed execution.

use rgrid_api::{Execution, FailureKind, Status};

/// None for one that has not failed.
pub fn of(execution: &Execution) -> Option<String> {
    let id = &execution.id;
    if execution.status == Status::Cancelled {
        return Some(format!("run it again with `rgrid retry {id}`"));
    }
    if execution.status != Status::Failed {
        return None;
    }
    Some(match execution.failure_kind {
        Some(FailureKind::Exit) | None => format!("see what it said with `rgrid logs {id}`"),
        Some(FailureKind::Timeout) => match execution.next_try.and_then(|next| next.timeout_seconds) {
            Some(seconds) => again(execution, &format!("--timeout {}", time(seconds))),
            None => no_more("time", "execution.max_timeout"),
        },
        Some(FailureKind::OutOfMemory) => match execution.next_try.and_then(|next| next.memory_mb) {
            Some(mebibytes) => again(execution, &format!("--memory {}", memory(mebibytes))),
            None => no_more("memory", "sandbox.max_memory"),
        },
        Some(FailureKind::Install) => format!("see what pip said with `rgrid logs --install {id}`"),
        Some(FailureKind::Image) => "`rgrid doctor` tells which images the server has".to_owned(),
        Some(FailureKind::Output) => format!("run it again with `rgrid retry {id}`"),
        Some(FailureKind::Lost) => format!("run it again with `rgrid retry {id}`"),
        Some(FailureKind::Internal) => {
            format!("run it again with `rgrid retry {id}`; `rgrid doctor` tells whether the server is fine")
        }
    })
}

fn again(execution: &Execution, option: &str) -> String {
    let script = if execution.script.starts_with("stdin.") { "-" } else { &execution.script };
    let more = if execution.args.is_empty() { "" } else { " …" };
    format!("run it again with `rgrid run {option} {script}{more}`")
}

fn no_more(what: &str, setting: &str) -> String {
    format!(
        "it had the most {what} that the server gives ({setting}): hand it less to do at a time, as `rgrid run --batch` does, \
         or ask the server's operator"
    )
}

/// In whole seconds or minutes.
fn time(seconds: f64) -> String {
    if seconds % 60.0 == 0.0 { format!("{}m", seconds / 60.0) } else { format!("{seconds}s") }
}

fn memory(mebibytes: u64) -> String {
    if mebibytes.is_multiple_of(1024) { format!("{}g", mebibytes / 1024) } else { format!("{mebibytes}m") }
}

#[cfg(test)]
mod tests {
    use rgrid_api::NextTry;

    use super::*;
    use crate::output::report::tests::execution;

    fn failed(kind: FailureKind) -> Execution {
        Execution { failure_kind: Some(kind), ..execution("exec_1", Status::Failed) }
    }

    #[test]
    fn a_limit_that_was_too_low_is_raised_as_far_as_the_server_gives_more() {
        let more = |kind, next_try: NextTry| {
            let args = vec!["a".to_owned()];
            of(&Execution { next_try: Some(next_try), args, ..failed(kind) }).unwrap()
        };
        let time = |seconds| NextTry { timeout_seconds: Some(seconds), memory_mb: None };
        let memory = |mebibytes| NextTry { timeout_seconds: None, memory_mb: Some(mebibytes) };
        for (seconds, option) in [(1.0, "1s"), (90.0, "90s"), (600.0, "10m")] {
            let told = more(FailureKind::Timeout, time(seconds));
            assert_eq!(told, format!("run it again with `rgrid run --timeout {option} script.py …`"));
        }
        for (mebibytes, option) in [(128, "128m"), (1900, "1900m"), (2048, "2g")] {
            let told = more(FailureKind::OutOfMemory, memory(mebibytes));
            assert!(told.contains(&format!("--memory {option} ")), "{told}");
        }
        let most = of(&failed(FailureKind::OutOfMemory)).unwrap();
        assert!(most.contains("the most memory that the server gives (sandbox.max_memory)"), "{most}");
    }

    #[test]
    fn every_failure_has_a_command_and_a_success_has_none() {
        for kind in FailureKind::ALL {
            assert!(of(&failed(kind)).unwrap().contains("`rgrid "), "{kind}");
        }
        assert_eq!(of(&execution("exec_1", Status::Completed)), None);
    }
}
