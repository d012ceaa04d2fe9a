//! Errors and exit codes of the commands.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;

use rgrid_api::{Execution, FailureKind, Status};

pub type Result<T = (), E = CliError> = std::result::Result<T, E>;

/// An error as the user sees it: what failed, details (one per line), and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    pub exit: Exit,
    pub message: String,
    pub details: Vec<String>,
    pub hint: Option<String>,
}

impl CliError {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), details: Vec::new(), hint: None }
    }

    pub fn failure(message: impl Into<String>) -> Self {
        Self::new(Exit::Failure, message)
    }

    /// The command line, or a file that it names, is invalid.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A file that the command line refers to cannot be read.
    pub fn unreadable(path: &Path, error: &io::Error) -> Self {
        let cause = match error.kind() {
            ErrorKind::NotFound => "no such file".to_owned(),
            ErrorKind::PermissionDenied => "permission denied".to_owned(),
            ErrorKind::InvalidData => "it is not UTF-8".to_owned(),
            _ => error.to_string(),
        };
        Self::usage(format!("cannot read {}: {cause}", path.display()))
    }

    pub fn unwritable(path: &Path, error: &io::Error) -> Self {
        Self::failure(format!("cannot write {}: {error}", path.display()))
    }

    /// The reader of stdout has exited (`| head`): the command ends without a message.
    pub fn stdout_closed() -> Self {
        Self::new(Exit::Success, "")
    }

    pub fn is_silent(&self) -> bool {
        self.message.is_empty()
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The numbers are fixed, because scripts rely on them.
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
