//! How this process ends. The numbers are fixed: scripts rely on them.

use rgrid_api::{Execution, FailureKind, Status};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Fine,
    Failed,
    Usage,
    NotFound,
    NotAllowed,
    Unreachable,
    /// With `-f` and `-w`: the script's own code.
    Script(u8),
    TimedOut,
    /// RGrid could not run the script to its end, or it was cancelled.
    NotRun,
    Interrupted,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Fine => 0,
            Exit::Failed => 1,
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

    /// Of whoever waited for an execution that has ended.
    pub fn of(ended: &Execution) -> Self {
        match (ended.status, ended.failure_kind, ended.exit_code) {
            (Status::Completed, _, _) => Exit::Fine,
            (_, Some(FailureKind::Timeout), _) => Exit::TimedOut,
            // A code of 0 comes with a failure when the script did well and its files were lost.
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
    fn whoever_waits_leaves_with_the_scripts_code() {
        let code = |status, kind, code| {
            let ended =
                Execution { status, failure_kind: kind, exit_code: code, ..execution("exec_1", status) };
            Exit::of(&ended).code()
        };
        assert_eq!(code(Status::Completed, None, Some(0)), 0);
        assert_eq!(code(Status::Failed, Some(FailureKind::Exit), Some(3)), 3);
        assert_eq!(code(Status::Failed, Some(FailureKind::Exit), Some(139)), 139);
        assert_eq!(code(Status::Failed, Some(FailureKind::Timeout), None), 124);
        assert_eq!(code(Status::Failed, Some(FailureKind::OutOfMemory), None), 125);
        assert_eq!(code(Status::Failed, Some(FailureKind::Install), None), 125);
        assert_eq!(code(Status::Cancelled, None, None), 125);
    }

    #[test]
    fn a_failure_never_leaves_with_0() {
        let kinds = FailureKind::ALL;
        let codes = [None, Some(0), Some(256), Some(-1), Some(i32::MAX)];
        for (kind, exit_code) in kinds.iter().flat_map(|kind| codes.map(|code| (*kind, code))) {
            let ended =
                Execution { failure_kind: Some(kind), exit_code, ..execution("exec_1", Status::Failed) };
            assert_ne!(Exit::of(&ended).code(), 0, "{kind} {exit_code:?}");
        }
    }
}
