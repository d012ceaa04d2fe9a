//! The settings of the daemon: `config/default.toml`, a file, the environment, flags.
//!
//! Values are parsed into types that cannot be wrong when the daemon starts; a wrong one stops the
//! start with its name, where it stands and what is allowed.

mod labels;
mod load;
mod reference;
mod runtimes;
mod values;
mod webhook;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

pub use labels::Labels;
pub use load::{SettingsError, load};
pub use reference::markdown;
pub use runtimes::{Ecosystem, PullPolicy, RuntimeEntry, RuntimeTable, UnknownRuntime};
pub use values::{Bytes, Lifetime, Listen, Network, Period};
pub use webhook::Webhook;

/// The defaults with their explanations, as they are shipped.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub http: Http,
    pub database: Database,
    pub worker: Worker,
    pub execution: Execution,
    pub submission: Submission,
    pub queue: Queue,
    pub webhook: Webhook,
    pub retention: Retention,
    pub install: Install,
    pub environments: Environments,
    pub docker: DockerEngine,
    pub sandbox: Sandbox,
    pub auth: Auth,
    pub log: Log,
    runtimes: BTreeMap<String, RuntimeEntry>,
}

impl Settings {
    /// Checked when the settings were loaded.
    pub fn runtimes(&self) -> RuntimeTable {
        RuntimeTable::new(self.runtimes.clone())
    }

    pub fn embedded_database(&self) -> bool {
        self.database.url.is_empty()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub listen: Listen,
    pub workers: usize,
    pub max_connections: usize,
    pub max_header: Bytes,
    pub header_timeout: Period,
    pub body_timeout: Period,
    pub idle_timeout: Period,
    pub rate_limit: f64,
    pub rate_burst: u32,
    pub trusted_proxies: Vec<Network>,
    pub followers: usize,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: String,
    pub connections: usize,
    pub bin_dir: PathBuf,
}

// The URL may hold a password.
impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("connections", &self.connections).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    pub name: String,
    pub slots: usize,
    pub labels: Labels,
    pub poll_interval: Period,
    pub lease: Period,
    pub drain_timeout: Period,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Execution {
    pub timeout: Period,
    pub max_timeout: Period,
    pub max_attempts: u32,
    pub grace: Period,
    pub output_limit: Bytes,
    pub max_outputs: u32,
    pub max_output_size: Bytes,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    pub max_script: Bytes,
    pub max_files: usize,
    pub max_files_size: Bytes,
    pub max_args: usize,
    pub max_args_size: Bytes,
    pub max_env: usize,
    pub max_env_size: Bytes,
    pub max_requirements: Bytes,
    pub max_labels: usize,
    pub max_in_memory: Bytes,
    pub max_attempts: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    pub max_queued: u64,
    pub max_priority: i16,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    pub executions: Lifetime,
    pub max_executions: u64,
    pub outputs: Lifetime,
    pub contents: Lifetime,
    pub images: Lifetime,
    /// 0: no limit.
    pub disk_budget: Bytes,
    pub sweep_every: Period,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Install {
    pub timeout: Period,
    pub index_url: String,
    pub extra_index_url: String,
    pub ca_bundle: PathBuf,
    pub constraints: PathBuf,
    pub memory: Bytes,
    pub max_size: Bytes,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environments {
    pub max_age: Period,
    pub max_size: Bytes,
    pub sweep_interval: Period,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DockerEngine {
    pub host: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    pub memory: Bytes,
    pub cpus: f64,
    pub max_memory: Bytes,
    pub max_cpus: f64,
    pub pids: u32,
    pub network: NetworkPolicy,
    pub network_name: String,
    pub firewall: Firewall,
    pub blocked: Vec<Network>,
    pub host_ports: Vec<u16>,
    pub runtime: String,
    pub fresh_network: bool,
    pub parked: u8,
    pub reuse: Reuse,
    pub reuse_runs: u32,
    pub reuse_max_age: Period,
    pub park_ttl: Period,
    pub orphan_ttl: Period,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkPolicy {
    Internet,
    None,
}

/// Whether a sandbox is used more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reuse {
    Never,
    SameKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firewall {
    Auto,
    Require,
    Off,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub mode: AuthMode,
    pub i_know_this_is_open: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    None,
    Keys,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Auto,
    Terminal,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warning,
    Info,
    Debug,
}
