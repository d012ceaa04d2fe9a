//! The error that a command reports.

use std::io::ErrorKind;
use std::path::Path;
use std::{fmt, io};

use crate::exit_code::Exit;

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
