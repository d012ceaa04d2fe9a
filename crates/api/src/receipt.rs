//! `GET /executions/{id}/receipt`: everything that is needed to do the same by hand.

use serde::{Deserialize, Serialize};

use crate::output::OutputFile;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Receipt {
    pub id: String,
    pub runtime: String,
    /// As in the runtime table, such as `python:3.11-slim`; none when the table has no such runtime any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Content id of the image that it ran in, `sha256:…`; none before the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    pub script: OutputFile,
    pub files: Vec<OutputFile>,
    pub args: Vec<String>,
    /// Names only.
    pub env_keys: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<String>,
    pub limits: ReceiptLimits,
    /// To be run in a folder that holds the script and its files. Variables keep the values that they have there.
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
    /// Kept of stdout and of stderr each, in bytes.
    pub output_limit: u64,
    pub max_attempts: u32,
}
