//! Errors of the API: `application/problem+json` (RFC 9457).

use serde::{Deserialize, Serialize};

/// The media type of an error response.
pub const PROBLEM_JSON: &str = "application/problem+json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `about:blank` or `urn:rgrid:problem:<name>`.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    pub title: String,
    /// The HTTP status, repeated for logs that contain only the body.
    pub status: u16,
    #[serde(default)]
    pub detail: String,
    /// How to fix it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Invalid fields (422 only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// Path of the field, such as `env.1X` or `files[2].name`.
    pub field: String,
    pub message: String,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}
