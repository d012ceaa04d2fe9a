//! Information about the server: runtimes, health and workers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A runtime that executions can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Runtime {
    /// The value for `--runtime`, such as `python:3.11`.
    pub name: String,
    /// The Docker image, such as `python:3.11-slim`.
    pub image: String,
    #[serde(default)]
    pub aliases: Vec<String>,
    /// File extensions that select this runtime, without the dot, such as `py`.
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
    /// `ok`, or `unavailable` with status 503.
    pub status: String,
    /// Version of the daemon, such as `0.1.0`.
    pub version: String,
    /// In the order database, docker, images.
    #[serde(default)]
    pub checks: Vec<Check>,
}

/// The result of one health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Check {
    pub name: String,
    pub ok: bool,
    /// The problem and its fix, or a short description of the healthy state.
    pub detail: String,
}

/// A running daemon that executes scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Worker {
    /// Changes at each start.
    pub id: String,
    /// Stays the same after a restart.
    pub name: String,
    /// Maximum number of concurrent executions.
    pub slots: u32,
    /// Current number of executions.
    pub running: u64,
    pub started_at: String,
    /// Time of the last heartbeat, by the database's clock.
    pub last_seen: String,
    /// The worker finishes its executions and claims no new ones.
    pub draining: bool,
    /// Labels that executions can require with `on`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// `GET /workers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerList {
    pub items: Vec<Worker>,
}
