//! The command that mends a failed execution.

use rgrid_api::{Execution, FailureKind, Status};

const MIB: u64 = 1 << 20;

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
        Some(FailureKind::Timeout) => again(execution, &format!("--timeout {}", more_time(execution))),
        Some(FailureKind::OutOfMemory) => again(execution, &format!("--memory {}", more_memory(execution))),
        Some(FailureKind::Install) => format!("see what pip said with `rgrid logs --install {id}`"),
        Some(FailureKind::Image) => "ask what the server lacks with `rgrid doctor`".to_owned(),
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

/// Twice as long, in whole seconds or minutes.
fn more_time(execution: &Execution) -> String {
    let twice = (execution.timeout_seconds * 2.0).ceil().max(1.0);
    if twice % 60.0 == 0.0 { format!("{}m", twice / 60.0) } else { format!("{twice}s") }
}

/// The next power of two above what it had.
fn more_memory(execution: &Execution) -> String {
    let peak = execution.usage.map_or(512 * MIB, |usage| usage.peak_memory_bytes);
    let mebibytes = (peak / MIB).max(1).next_power_of_two().saturating_mul(2);
    if mebibytes >= 1024 { format!("{}g", mebibytes / 1024) } else { format!("{mebibytes}m") }
}

#[cfg(test)]
mod tests {
    use rgrid_api::Usage;

    use super::*;
    use crate::ending::tests::execution;

    fn failed(kind: FailureKind) -> Execution {
        Execution { failure_kind: Some(kind), ..execution("exec_1", Status::Failed) }
    }

    #[test]
    fn a_limit_that_was_too_low_is_doubled() {
        let slow = Execution { timeout_seconds: 600.0, ..failed(FailureKind::Timeout) };
        assert_eq!(of(&slow).unwrap(), "run it again with `rgrid run --timeout 20m script.py`");
        let quick = Execution { timeout_seconds: 0.4, args: vec!["a".to_owned()], ..slow };
        assert_eq!(of(&quick).unwrap(), "run it again with `rgrid run --timeout 1s script.py …`");
        for (peak, option) in [(500 * MIB, "1g"), (512 * MIB, "1g"), (60 * MIB, "128m"), (0, "2m")] {
            let usage = Some(Usage { cpu_ms: 0, peak_memory_bytes: peak });
            let hungry = Execution { usage, ..failed(FailureKind::OutOfMemory) };
            assert!(of(&hungry).unwrap().contains(&format!("--memory {option} ")), "{peak}");
        }
    }

    #[test]
    fn every_failure_has_a_command_and_a_success_has_none() {
        for kind in FailureKind::ALL {
            assert!(of(&failed(kind)).unwrap().contains("`rgrid "), "{kind}");
        }
        assert_eq!(of(&execution("exec_1", Status::Completed)), None);
    }
}
