//! An execution: one submission, its state, its result, its events and its receipt.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use strum::{Display, EnumString, IntoStaticStr};

/// State of an execution. `completed`, `failed` and `cancelled` are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, IntoStaticStr)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
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
        self.into()
    }

    /// A final execution never changes its status again.
    pub fn is_final(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::Cancelled)
    }
}

/// Why an execution failed; `execution_error` explains it in a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, IntoStaticStr)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum FailureKind {
    /// The script exited with a code other than 0 or was killed by a signal.
    Exit,
    /// The script exceeded its timeout.
    Timeout,
    /// The script exceeded its memory limit, or its host ran out of memory.
    OutOfMemory,
    /// The requirements could not be installed.
    Install,
    /// The image of the runtime could not be pulled.
    Image,
    /// The output files could not be collected.
    Output,
    /// The worker or the sandbox disappeared, so the result is unknown.
    Lost,
    /// An error in RGrid itself.
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
        self.into()
    }
}

/// Resources used by an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// User and system time of all processes in the sandbox, in milliseconds.
    pub cpu_ms: u64,
    /// Peak memory use of the sandbox, in bytes.
    pub peak_memory_bytes: u64,
}

impl Usage {
    /// Whether it used clearly less than a memory limit in bytes. A script that was killed for memory nevertheless was
    /// killed because its host ran out of memory. A large page that does not fit is not part of the peak.
    pub fn stayed_below(&self, limit: u64) -> bool {
        self.peak_memory_bytes < limit / 10 * 9
    }
}

/// A higher value for the limit that the execution exceeded, at most the server's maximum.
#[skip_serializing_none]
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NextTry {
    pub timeout_seconds: Option<f64>,
    /// In MiB.
    pub memory_mb: Option<u64>,
}

/// `GET /executions/{id}`. Times are RFC 3339 in UTC. Fields without a value are omitted.
///
/// Values of environment variables are never returned, only their names.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Execution {
    pub id: String,
    pub status: Status,
    pub runtime: String,
    /// File name of the script.
    pub script: String,
    #[serde(default)]
    pub args: Vec<String>,
    /// Names of the environment variables.
    #[serde(default)]
    pub env_keys: Vec<String>,
    /// Names of the secrets. A retry must supply their values again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_keys: Vec<String>,
    pub created_at: String,
    pub started_at: Option<String>,
    pub completed_at: Option<String>,
    /// From `started_at` to `completed_at`, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Only while running; omitted in lists.
    pub phase: Option<Phase>,
    /// Position among the executions that the same workers can run; 1 is next. Only while queued; omitted in lists.
    pub queue_position: Option<u64>,
    /// Why no worker can run it yet, such as `no worker has gpu=true`. Omitted in lists.
    pub waits_for: Option<String>,
    #[serde(default)]
    pub phases: Phases,
    /// Exit code of the script; 128 plus the signal number if a signal killed it.
    pub exit_code: Option<i32>,
    /// Omitted in lists.
    pub stdout: Option<String>,
    /// Omitted in lists.
    pub stderr: Option<String>,
    /// Bytes of text written to stdout, including truncated output.
    #[serde(default)]
    pub stdout_bytes: u64,
    /// Bytes of text written to stderr, including truncated output.
    #[serde(default)]
    pub stderr_bytes: u64,
    /// Part of stdout or stderr exceeded the output limit and was not stored.
    #[serde(default)]
    pub output_truncated: bool,
    /// When the retention rules removed output and files.
    pub pruned_at: Option<String>,
    pub failure_kind: Option<FailureKind>,
    /// Explains the failure in a sentence.
    pub execution_error: Option<String>,
    /// Number of the current or last attempt, starting at 1; 0 before the first. An attempt counts if its script may
    /// have started.
    pub attempt: u32,
    pub max_attempts: u32,
    /// Name of the worker that ran the current or last attempt.
    pub worker: Option<String>,
    pub timeout_seconds: f64,
    /// In MiB.
    #[serde(default)]
    pub memory_mb: u64,
    /// Omitted in lists, when no limit was exceeded, and when the limit was already the server's maximum.
    pub next_try: Option<NextTry>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Labels that the worker must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub on: BTreeMap<String, String>,
    #[serde(default)]
    pub priority: i32,
    /// Files that the script created. Omitted in lists.
    pub outputs: Option<Vec<OutputFile>>,
    /// Files that were not kept: a sentence with the reason for each of the first few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs_left_out: Vec<String>,
    pub usage: Option<Usage>,
}

impl Execution {
    /// The output files; empty for an item of a list.
    pub fn files(&self) -> &[OutputFile] {
        self.outputs.as_deref().unwrap_or_default()
    }

    /// `2 of 3`.
    pub fn attempt_label(&self) -> String {
        format!("{} of {}", self.attempt, self.max_attempts)
    }
}

/// `GET /executions`: newest first, without output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecutionList {
    pub items: Vec<Execution>,
    /// Pass it as `cursor` to get the next page; null on the last page.
    pub next_cursor: Option<String>,
}

/// A stored text stream of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = String, parse_err_fn = unknown_stream)]
pub enum Stream {
    Stdout,
    Stderr,
    /// Output of installing the requirements.
    Install,
}

impl Stream {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

fn unknown_stream(text: &str) -> String {
    format!("unknown stream {text:?}: expected stdout, stderr or install")
}

/// A file that the script created in `/workspace/` or below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OutputFile {
    /// Path relative to `/workspace/`, with `/` as the separator.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
}

/// `GET /executions/{id}/outputs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OutputList {
    pub items: Vec<OutputFile>,
}

/// What a running execution is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Installing the requirements.
    Environment,
    /// Starting the sandbox, which may include pulling the image.
    Sandbox,
    /// Running the script.
    Script,
}

/// Duration of each phase in milliseconds. Phases that were skipped or have not ended are omitted.
#[skip_serializing_none]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Phases {
    /// From the submission to the claim of the last attempt, including earlier attempts.
    pub queued_ms: Option<u64>,
    pub environment_ms: Option<u64>,
    pub sandbox_ms: Option<u64>,
    pub script_ms: Option<u64>,
    /// The rest of the time from claim to completion: collecting the files and recording the result.
    pub recorded_ms: Option<u64>,
}

/// `GET /executions/{id}/events`, `event: status`: sent first on each connection and after each change.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusEvent {
    pub status: Status,
    pub attempt: u32,
    pub phase: Option<Phase>,
    /// Position in the queue; 1 is next. Only while queued.
    pub queue_position: Option<u64>,
    /// Why no worker can run it yet, such as `no worker has gpu=true`.
    pub waits_for: Option<String>,
    /// The attempt was lost. Discard its output; the next attempt starts from the beginning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restarted: bool,
}

/// `event: output`: the next part of one stream.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OutputEvent {
    pub stream: Stream,
    pub text: String,
    /// `text` is a marker that replaces this many bytes of truncated output.
    pub cut: Option<u64>,
}

/// `GET /executions/{id}/receipt`: everything needed to reproduce an execution without RGrid.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Receipt {
    pub id: String,
    pub runtime: String,
    /// The image configured for the runtime, such as `python:3.11-slim`. Omitted if the runtime no longer exists.
    pub image: Option<String>,
    /// Content ID of the image that was used, `sha256:…`. Omitted before the first attempt.
    pub image_digest: Option<String>,
    pub script: OutputFile,
    /// Input files.
    pub files: Vec<OutputFile>,
    pub args: Vec<String>,
    /// Names of the environment variables.
    pub env_keys: Vec<String>,
    pub requirements: Option<String>,
    pub limits: ReceiptLimits,
    /// A shell command. Run it in a folder that contains the script and its input files; environment variables are
    /// passed through from the shell.
    pub docker_run: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReceiptLimits {
    pub timeout_seconds: f64,
    pub memory_bytes: u64,
    pub cpus: f64,
    pub pids: u32,
    pub network: bool,
    /// Bytes stored of each of stdout and stderr.
    pub output_limit: u64,
    pub max_attempts: u32,
}
