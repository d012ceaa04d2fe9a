//! How an execution ended, and the record that is stored.

use std::time::Duration;

use rgrid_api::{FailureKind, Status, Usage};

use crate::execution::FileContent;

/// How an execution ended, as users see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    Failed { kind: FailureKind, error: String },
    Cancelled,
}

impl Outcome {
    pub fn status(&self) -> Status {
        match self {
            Outcome::Completed => Status::Completed,
            Outcome::Failed { .. } => Status::Failed,
            Outcome::Cancelled => Status::Cancelled,
        }
    }

    pub fn failure_kind(&self) -> Option<FailureKind> {
        match self {
            Outcome::Failed { kind, .. } => Some(*kind),
            Outcome::Completed | Outcome::Cancelled => None,
        }
    }

    /// A sentence with the cause and, if possible, the fix.
    pub fn error(&self) -> Option<&str> {
        match self {
            Outcome::Failed { error, .. } => Some(error),
            Outcome::Completed | Outcome::Cancelled => None,
        }
    }
}

/// The stored text of a stream: the whole text, or its beginning and end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredText {
    pub text: String,
    /// Bytes that were written in total.
    pub total: u64,
    pub truncated: bool,
    /// `None` if the text is complete.
    pub cut: Option<Cut>,
}

/// Number of bytes kept of the beginning and the end of a text; a line between them marks the gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    pub head: u64,
    pub tail: u64,
}

/// How long the phases of an attempt took; `None` if unknown or skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PhaseTimes {
    pub environment: Option<Duration>,
    pub sandbox: Option<Duration>,
    pub script: Option<Duration>,
}

/// Everything that is stored when an execution ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionRecord {
    pub outcome: Outcome,
    pub exit_code: Option<i32>,
    pub stdout: StoredText,
    pub stderr: StoredText,
    pub install: StoredText,
    pub usage: Option<Usage>,
    pub outputs: Vec<FileContent>,
    /// Why output files were left out, one sentence each.
    pub outputs_left_out: Vec<String>,
    pub phases: PhaseTimes,
    /// ID of the image.
    pub image: Option<String>,
}

impl ExecutionRecord {
    /// A record without output.
    pub fn failed(kind: FailureKind, error: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Failed { kind, error: error.into() },
            exit_code: None,
            stdout: StoredText::default(),
            stderr: StoredText::default(),
            install: StoredText::default(),
            usage: None,
            outputs: Vec::new(),
            outputs_left_out: Vec::new(),
            phases: PhaseTimes::default(),
            image: None,
        }
    }

    pub fn output_truncated(&self) -> bool {
        self.stdout.truncated || self.stderr.truncated
    }
}
