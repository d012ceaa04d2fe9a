//! `GET /executions/{id}/events`: what the Server-Sent Events carry. `docs/events.md` tells the rules.

use serde::{Deserialize, Serialize};

use crate::execution::Status;
use crate::output::Stream;

/// What a running execution is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its requirements are being installed.
    Environment,
    /// Its sandbox is being made; the first time that may mean pulling an image.
    Sandbox,
    /// The script runs.
    Script,
}

/// How long each phase took, in milliseconds. What is not known yet, or was not there, is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Phases {
    /// From the submission to the claim of the last attempt, with any attempts before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script_ms: Option<u64>,
    /// What is left of the time from claim to end: fetching the files, writing the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_ms: Option<u64>,
}

/// `event: status`: the first event of each connection, and one at each change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusEvent {
    pub status: Status,
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// 1 is next. While queued only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u64>,
    /// What is missing for it to begin, such as `no worker has gpu=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// The attempt that the client saw output of is gone for good; what it said is void and begins anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restarted: bool,
}

/// `event: output`: the next piece of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OutputEvent {
    pub stream: Stream,
    pub text: String,
    /// This is no text of the script's, but the line that stands for so many bytes that were not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
}
