//! Information about the server: runtimes, health and workers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};

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
    /// `database`, and on a worker also `docker`, `firewall`, `images` and `recorder`.
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
    /// Why the worker's Docker engine does not respond; absent if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_problem: Option<String>,
    /// State of the firewall around the worker's sandboxes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<FirewallState>,
    /// Why the firewall is `unverified` or `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall_problem: Option<String>,
}

/// State of the firewall around a worker's sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum FirewallState {
    /// Not managed by RGrid.
    Off,
    /// The rules are in place.
    Verified,
    /// The worker has never been able to verify the rules, and runs scripts with the network anyway.
    Unverified,
    /// The worker cannot verify the rules now, and starts no script that needs the network.
    Failed,
}

impl FirewallState {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// `GET /workers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerList {
    pub items: Vec<Worker>,
}
