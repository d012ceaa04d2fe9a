//! Output of an execution: text streams and files.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};

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
