//! `GET /executions/{id}/events`: the payloads of the Server-Sent Events. `docs/events.md` describes the protocol.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::execution::Status;
use crate::output::Stream;

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

/// `event: status`: sent first on each connection and after each change.
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
