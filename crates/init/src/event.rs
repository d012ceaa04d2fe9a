//! What happened in a run, in the order in which it happened.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::secret::Size;

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    Started {
        step: JobStep,
    },
    /// At most [`crate::MAX_TEXT`] bytes; valid UTF-8 without NUL.
    Output {
        stream: Stream,
        text: String,
    },
    /// The last event of a run.
    Exit(Exit),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobStep {
    Setup,
    Script,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// stdout and stderr of the setup, in the order in which they were written.
    Install,
    Stdout,
    Stderr,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    pub reason: ExitReason,
    /// 0 without a setup.
    pub setup_ms: u64,
    /// Of the script, without the setup. 0 when it never started.
    pub wall_ms: u64,
    /// User and system time of the script and its children.
    pub cpu_ms: u64,
    /// Of the whole container where its cgroup tells, else of the largest process.
    pub peak_memory_bytes: u64,
    pub stdout: StreamEnd,
    pub stderr: StreamEnd,
    pub install: StreamEnd,
    /// Sorted by name; `Fetch` counts from 0 in this list.
    pub outputs: Vec<OutputFile>,
    /// What was left out and why, a sentence each, about ten at most.
    pub outputs_left_out: Vec<String>,
    /// Whether a packet has gone through the network namespace, also to oneself, in this run or one before it in the
    /// same sandbox. True when that can't be told.
    pub network_used: bool,
}

impl Exit {
    /// Of which nothing but the ending is known.
    pub fn new(reason: ExitReason) -> Self {
        Self {
            reason,
            setup_ms: 0,
            wall_ms: 0,
            cpu_ms: 0,
            peak_memory_bytes: 0,
            stdout: StreamEnd::default(),
            stderr: StreamEnd::default(),
            install: StreamEnd::default(),
            outputs: Vec::new(),
            outputs_left_out: Vec::new(),
            network_used: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitReason {
    Exited {
        code: i32,
    },
    Signalled {
        signal: i32,
    },
    TimedOut,
    /// Of setup or script.
    OutOfMemory,
    Cancelled,
    /// The setup's exit code, or 128 + the signal that ended it.
    SetupFailed {
        code: i32,
    },
    SetupTimedOut,
    CouldNotStart {
        reason: String,
    },
}

/// How a stream ended. `tail` is empty unless `total` is more than the limit: then it is the last limit/2
/// bytes of the text (but at most [`crate::MAX_TAIL`]), beginning at a character. See [`crate::assemble`].
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEnd {
    /// Bytes of text in all.
    pub total: u64,
    pub tail: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Relative to the workspace, parts joined by `/`, none of them `.` or `..`, no control characters.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

// What a script prints may hold the secrets it was given.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { step } => f.debug_struct("Started").field("step", step).finish(),
            Self::Output { stream, text } => {
                f.debug_struct("Output").field("stream", stream).field("text", &Size(text.len())).finish()
            }
            Self::Exit(exit) => f.debug_tuple("Exit").field(exit).finish(),
        }
    }
}

impl fmt::Debug for StreamEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamEnd").field("total", &self.total).field("tail", &Size(self.tail.len())).finish()
    }
}
