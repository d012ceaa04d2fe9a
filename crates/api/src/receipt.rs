//! `GET /executions/{id}/receipt`: everything needed to reproduce an execution without RGrid.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::output::OutputFile;

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
