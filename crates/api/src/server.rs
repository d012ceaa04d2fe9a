//! What a server tells of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One line of the runtime table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Runtime {
    /// As in `--runtime`, such as `python:3.11`.
    pub name: String,
    /// The image that it runs in, such as `python:3.11-slim`.
    pub image: String,
    #[serde(default)]
    pub aliases: Vec<String>,
    /// File endings that choose it by themselves, without the dot, such as `py`.
    #[serde(default)]
    pub extensions: Vec<String>,
    #[serde(default)]
    pub default: bool,
}

/// `GET /runtimes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RuntimeList {
    pub items: Vec<Runtime>,
}

/// `GET /healthz` and `GET /readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// `ok`, or `unavailable` with 503.
    pub status: String,
    /// Version of the daemon, such as `0.1.0`.
    pub version: String,
    /// What is looked at, in the order database, docker, images.
    #[serde(default)]
    pub checks: Vec<Check>,
}

/// One thing that the server needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Check {
    pub name: String,
    pub ok: bool,
    /// What is wrong and what to do, or a word on what was found.
    pub detail: String,
}

/// One running daemon that executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Worker {
    /// New at each start.
    pub id: String,
    /// Stable over restarts.
    pub name: String,
    /// Executions at once.
    pub slots: u32,
    /// Executions at the moment.
    pub running: u64,
    pub started_at: String,
    /// By the database's clock.
    pub last_seen: String,
    /// It finishes what it runs and claims nothing new.
    pub draining: bool,
    /// What executions may ask for with `on`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// `GET /workers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerList {
    pub items: Vec<Worker>,
}
