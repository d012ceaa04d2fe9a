//! How an attempt ended and what is kept of it.

use std::time::Duration;

use rgrid_api::{FailureKind, Status, Usage};

/// How an attempt ended, as it is told to users.
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

    /// One sentence that a person can act on.
    pub fn error(&self) -> Option<&str> {
        match self {
            Outcome::Failed { error, .. } => Some(error),
            Outcome::Completed | Outcome::Cancelled => None,
        }
    }
}

/// One text stream as it is kept: whole, or its first and last half.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredText {
    pub text: String,
    /// Bytes of text that were written in all.
    pub total: u64,
    pub truncated: bool,
    /// Where it was cut; none when it is whole.
    pub cut: Option<Cut>,
}

/// Bytes that were kept of the beginning and of the end of a text; a line between them says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    pub head: u64,
    pub tail: u64,
}

/// How long the parts of an attempt took, as far as they were there and are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PhaseTimes {
    pub environment: Option<Duration>,
    pub sandbox: Option<Duration>,
    pub script: Option<Duration>,
}

/// An output file whose content is at hand.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredOutput {
    pub name: String,
    pub content: Vec<u8>,
}

impl std::fmt::Debug for StoredOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} ({} bytes)", self.name, self.content.len())
    }
}

/// Everything that the final write records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionRecord {
    pub outcome: Outcome,
    pub exit_code: Option<i32>,
    pub stdout: StoredText,
    pub stderr: StoredText,
    pub install: StoredText,
    pub usage: Option<Usage>,
    pub outputs: Vec<StoredOutput>,
    /// What of the files was not kept, a sentence each.
    pub outputs_left_out: Vec<String>,
    pub phases: PhaseTimes,
    /// Content id of the image that it ran in.
    pub image: Option<String>,
}

impl ExecutionRecord {
    /// An attempt of which there is nothing but the reason.
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
