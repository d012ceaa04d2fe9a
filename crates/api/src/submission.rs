//! `POST /executions` and `POST /executions/{id}/retry`. Debug output contains only names and sizes, because the rest is
//! user data or secret.

use std::collections::BTreeMap;

use derive_more::Debug;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::shape;

/// A script to run. Only `script` is required; the server supplies defaults for the other fields.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[debug("Submission({script:?}, files: {files:?}, secrets: {:?})", secrets.keys())]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Submission {
    #[serde(deserialize_with = "shape::object")]
    pub script: Script,
    /// Arguments for the script.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Environment variables that are replaced by `***` in the output and deleted when the execution ends.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// Name or alias of a runtime. Selected by the extension of the script if omitted.
    pub runtime: Option<String>,
    /// Packages to install first, in the format of `requirements.txt`.
    pub requirements: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "shape::objects")]
    pub files: Vec<InputFile>,
    pub timeout_seconds: Option<f64>,
    /// In MiB.
    pub memory_mb: Option<f64>,
    pub cpus: Option<f64>,
    /// Whether the sandbox has network access.
    pub network: Option<bool>,
    /// Labels to filter lists by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Labels that the worker must have. The execution is queued until such a worker is available.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub on: BTreeMap<String, String>,
    /// From -100 to 100, 0 by default. Higher priorities start first.
    pub priority: Option<i32>,
    pub max_attempts: Option<u32>,
    /// Notified when the execution has ended.
    #[serde(default, deserialize_with = "shape::optional_object")]
    pub webhook: Option<Webhook>,
}

/// A URL that is called when the execution has ended. See `docs/webhooks.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub url: String,
}

/// `POST /executions/{id}/retry`. The body may be omitted if the execution has no secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[debug("Retry({:?})", secrets.keys())]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Values for exactly the secrets of the original execution; RGrid does not keep them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[debug("{name:?} ({} bytes)", content.len())]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// A file name without a folder. The script is stored under this name in `/workspace/`.
    pub name: String,
    pub content: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[debug("{name:?} ({} bytes of base64)", content_base64.len())]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct InputFile {
    /// A file name without a folder. The file is read-only in `/workspace/`.
    pub name: String,
    pub content_base64: String,
}
