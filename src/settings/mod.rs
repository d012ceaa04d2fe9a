//! The daemon's settings, merged from `config/default.toml`, a file, the environment and flags.
//!
//! Values are parsed into types that cannot hold an invalid value. An invalid setting keeps the daemon from starting;
//! the error names the setting, the source of its value, and the allowed values.
//! Units and limits are documented in `config/default.toml`.

mod load;
mod reference;
mod runtimes;
mod values;

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf};

use derive_more::Debug;
use serde::Deserialize;

pub use load::load;
pub use reference::markdown;
pub use runtimes::{Ecosystem, PullPolicy, RuntimeEntry, RuntimeTable};
pub use values::{Bytes, IpRange, Labels, Lifetime, Listen, Period};

/// The defaults with their documentation, embedded in the binary.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Declares sections, which reject unknown settings.
macro_rules! sections {
    ($(pub struct $section:ident $fields:tt)+) => { $(
        #[derive(Debug, Clone, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $section $fields
    )+ };
}

/// Declares the settings with a fixed set of values, which are written like `same-key`.
macro_rules! choices {
    ($($setting:ident: $($value:ident)|+;)+) => { $(
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $setting { $($value),+ }
    )+ };
}

sections! {
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
        pub trusted_proxies: Vec<IpRange>,
        pub followers: usize,
    }

    pub struct Worker {
        pub name: String,
        pub slots: usize,
        pub labels: Labels,
        pub poll_interval: Period,
        pub lease: Period,
        pub drain_timeout: Period,
    }

    pub struct Execution {
        pub timeout: Period,
        pub max_timeout: Period,
        pub max_attempts: u32,
        pub max_claims: u32,
        pub grace: Period,
        pub output_limit: Bytes,
        pub max_outputs: u32,
        pub max_output_size: Bytes,
    }

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

    pub struct Queue {
        pub max_queued: u64,
        pub max_priority: i16,
    }

    pub struct Retention {
        pub executions: Lifetime,
        pub max_executions: u64,
        pub outputs: Lifetime,
        pub contents: Lifetime,
        pub images: Lifetime,
        pub disk_budget: Bytes,
        pub sweep_every: Period,
    }

    pub struct Install {
        pub timeout: Period,
        pub index_url: String,
        pub extra_index_url: String,
        pub ca_bundle: PathBuf,
        pub constraints: PathBuf,
        pub memory: Bytes,
        pub max_size: Bytes,
    }

    pub struct Environments {
        pub max_age: Period,
        pub max_size: Bytes,
        pub sweep_interval: Period,
    }

    pub struct DockerEngine {
        pub host: String,
    }

    pub struct Sandbox {
        pub memory: Bytes,
        pub cpus: f64,
        pub max_memory: Bytes,
        pub max_cpus: f64,
        pub pids: u32,
        pub network: NetworkPolicy,
        pub network_name: String,
        pub firewall: FirewallMode,
        pub blocked: Vec<IpRange>,
        pub host_ports: Vec<u16>,
        pub dns: Vec<Ipv4Addr>,
        pub runtime: String,
        pub fresh_network: bool,
        pub parked: u8,
        pub reuse: Reuse,
        pub reuse_runs: u32,
        pub reuse_max_age: Period,
        pub park_ttl: Period,
        pub orphan_ttl: Period,
    }

    pub struct Auth {
        pub mode: AuthMode,
        pub i_know_this_is_open: bool,
    }

    pub struct Log {
        pub format: LogFormat,
        pub level: LogLevel,
    }
}

choices! {
    NetworkPolicy: Internet | None;
    Reuse: Never | SameKey;
    FirewallMode: Auto | Require | Off;
    AuthMode: None | Keys;
    LogFormat: Auto | Terminal | Json;
    LogLevel: Error | Warning | Info | Debug;
}

impl Settings {
    pub fn runtimes(&self) -> RuntimeTable {
        RuntimeTable::new(self.runtimes.clone())
    }

    pub fn embedded_database(&self) -> bool {
        self.database.url.is_empty()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    // It may contain a password.
    #[debug(skip)]
    pub url: String,
    pub connections: usize,
    pub bin_dir: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    // Anyone with the secret can sign webhooks in this server's name.
    #[debug(skip)]
    pub secret: String,
    pub allow_internal: bool,
    pub timeout: Period,
    pub retry_after: Period,
    pub tries: u32,
}
