//! One submission and its life, as the API shows it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::{Phase, Phases};
use crate::output::OutputFile;

/// Where an execution stands. Only the last three are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    pub const ALL: [Status; 5] =
        [Status::Queued, Status::Running, Status::Completed, Status::Failed, Status::Cancelled];

    pub fn as_str(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Running => "running",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
        }
    }

    /// Nothing about the execution changes any more.
    pub fn is_final(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::Cancelled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a failed execution failed; `execution_error` says it in a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The script ended with a code other than 0, or by a signal.
    Exit,
    /// The script was still running at its deadline.
    Timeout,
    /// The script needed more memory than its limit.
    OutOfMemory,
    /// Its requirements could not be installed.
    Install,
    /// The image of its runtime could not be had.
    Image,
    /// What it wrote could not be brought back.
    Output,
    /// Nothing of its result can be known: worker or sandbox are gone.
    Lost,
    /// RGrid itself failed.
    Internal,
}

impl FailureKind {
    pub const ALL: [FailureKind; 8] = [
        FailureKind::Exit,
        FailureKind::Timeout,
        FailureKind::OutOfMemory,
        FailureKind::Install,
        FailureKind::Image,
        FailureKind::Output,
        FailureKind::Lost,
        FailureKind::Internal,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            FailureKind::Exit => "exit",
            FailureKind::Timeout => "timeout",
            FailureKind::OutOfMemory => "out_of_memory",
            FailureKind::Install => "install",
            FailureKind::Image => "image",
            FailureKind::Output => "output",
            FailureKind::Lost => "lost",
            FailureKind::Internal => "internal",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a run cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// User and system time of everything in the sandbox, in milliseconds.
    pub cpu_ms: u64,
    /// Highest memory use of the sandbox, in bytes.
    pub peak_memory_bytes: u64,
}

/// What a next try may ask for of the limit that ended it: more than it had, and no more than the server gives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NextTry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u64>,
}

/// `GET /executions/{id}`. Times are RFC 3339 in UTC; what has no value yet is left out.
///
/// Values of environment variables go in and never come out: only their names are shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Execution {
    pub id: String,
    pub status: Status,
    pub runtime: String,
    pub script: String,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub env_keys: Vec<String>,
    /// Names of the secrets; a retry asks for their values again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_keys: Vec<String>,
    pub created_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// What it is busy with, while it runs; for a single execution only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// 1 is next among those that may run on the same workers, while it waits; for a single execution only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u64>,
    /// What is missing for it to begin, such as `no worker has gpu=true`; for a single execution only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    #[serde(default)]
    pub phases: Phases,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Left out in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    /// Left out in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
    /// Size of all that the script wrote, in bytes of text, also of what was cut.
    #[serde(default)]
    pub stdout_bytes: u64,
    #[serde(default)]
    pub stderr_bytes: u64,
    #[serde(default)]
    pub output_truncated: bool,
    /// When output and files were removed by the server's retention rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_kind: Option<FailureKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_error: Option<String>,
    pub attempt: u32,
    pub max_attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    pub timeout_seconds: f64,
    #[serde(default)]
    pub memory_mb: u64,
    /// None when no limit ended it, or when it had the most that the server gives; for a single execution only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<NextTry>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Labels that its worker must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub on: BTreeMap<String, String>,
    #[serde(default)]
    pub priority: i32,
    /// The files that it left; left out in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Vec<OutputFile>>,
    /// What of its files was not kept, and why: a sentence each, for some of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs_left_out: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl Execution {
    /// The files that it left, as far as they were asked for.
    pub fn files(&self) -> &[OutputFile] {
        self.outputs.as_deref().unwrap_or_default()
    }

    /// `2 of 3`. One that was given back before its script began has a number and does not count, so there may be more.
    pub fn attempt_in_words(&self) -> String {
        match self.attempt {
            attempt if attempt > self.max_attempts => attempt.to_string(),
            attempt => format!("{attempt} of {}", self.max_attempts),
        }
    }
}

/// `GET /executions`: newest first, without outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecutionList {
    pub items: Vec<Execution>,
    /// Hand it back as `cursor` for the next page; none on the last one.
    pub next_cursor: Option<String>,
}
