//! `[webhook]`: who is told of an execution's end, and how.

use serde::Deserialize;

use crate::settings::Period;

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub secret: String,
    pub allow_internal: bool,
    pub timeout: Period,
    pub retry_after: Period,
    pub tries: u32,
}

// Whoever has the secret can speak in this server's name.
impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("allow_internal", &self.allow_internal).finish_non_exhaustive()
    }
}
