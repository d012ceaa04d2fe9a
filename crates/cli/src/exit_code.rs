//! The exit codes of `rgrid`. The numbers are fixed, because scripts rely on them.

use rgrid_api::{Execution, FailureKind, Status};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Success,
    Failure,
    Usage,
    NotFound,
    NotAllowed,
    Unreachable,
    /// With `-f` and `-w`: the script's own code.
    Script(u8),
    TimedOut,
    /// RGrid could not run the script to its end, or the execution was cancelled.
    NotRun,
    Interrupted,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::NotAllowed => 4,
            Exit::Unreachable => 5,
            Exit::Script(code) => code,
            Exit::TimedOut => 124,
            Exit::NotRun => 125,
            Exit::Interrupted => 130,
        }
    }

    /// For a command that waited until this execution ended.
    pub fn of(execution: &Execution) -> Self {
        match (execution.status, execution.failure_kind, execution.exit_code) {
            (Status::Completed, _, _) => Exit::Success,
            (_, Some(FailureKind::Timeout), _) => Exit::TimedOut,
            // A failed execution has exit code 0 if the script succeeded but its output files were lost.
            (Status::Failed, _, Some(code)) if code != 0 => {
                Exit::Script(u8::try_from(code & 0xff).unwrap_or(u8::MAX).max(1))
            }
            _ => Exit::NotRun,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::report::tests::execution;

    #[test]
    fn a_waiting_command_exits_with_the_scripts_code() {
        for (status, failure_kind, exit_code, expected) in [
            (Status::Completed, None, Some(0), 0),
            (Status::Failed, Some(FailureKind::Exit), Some(3), 3),
            (Status::Failed, Some(FailureKind::Exit), Some(139), 139),
            (Status::Failed, Some(FailureKind::Timeout), None, 124),
            (Status::Failed, Some(FailureKind::OutOfMemory), None, 125),
            (Status::Failed, Some(FailureKind::Install), None, 125),
            (Status::Cancelled, None, None, 125),
        ] {
            let ended = Execution { failure_kind, exit_code, ..execution("exec_1", status) };
            assert_eq!(Exit::of(&ended).code(), expected, "{status} {failure_kind:?} {exit_code:?}");
        }
    }

    #[test]
    fn a_failed_execution_never_yields_exit_code_0() {
        let codes = [None, Some(0), Some(256), Some(-1), Some(i32::MAX)];
        for (kind, exit_code) in FailureKind::ALL.iter().flat_map(|kind| codes.map(|code| (*kind, code))) {
            let ended =
                Execution { failure_kind: Some(kind), exit_code, ..execution("exec_1", Status::Failed) };
            assert_ne!(Exit::of(&ended).code(), 0, "{kind} {exit_code:?}");
        }
    }
}
