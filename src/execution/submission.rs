//! A validated submission, which can be run.

use std::collections::BTreeMap;
use std::time::Duration;

use derive_more::Debug;

use crate::execution::{ExecutionId, KeyId};

/// Environment variables. `Debug` hides the values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[debug("{:?}", self.names().collect::<Vec<_>>())]
pub struct EnvVars(pub BTreeMap<String, String>);

impl EnvVars {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// An uploaded file, or an output file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[debug("{name:?} ({} bytes)", content.len())]
pub struct FileContent {
    pub name: String,
    pub content: Vec<u8>,
}

/// A script as an argument of its interpreter. A path is never taken for an option (`-`, `--help`) or a subcommand
/// (`node inspect`), as a name may be.
pub fn script_path(name: &str) -> String {
    format!("./{name}")
}

/// The limits of an attempt, and of the number of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub timeout: Duration,
    pub memory_bytes: u64,
    /// Thousandths of a core.
    pub cpus_milli: u32,
    pub network: bool,
    pub max_attempts: u32,
}

/// The client's idempotency key, and the digest of the request that first used it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub key: String,
    pub body_sha256: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct NewExecution {
    pub id: ExecutionId,
    /// The name in the runtime table, which may differ from the name in the request.
    pub runtime: String,
    pub script: FileContent,
    pub args: Vec<String>,
    pub env: EnvVars,
    /// Like `env`, but deleted when the execution ends and masked in its output.
    pub secrets: EnvVars,
    pub requirements: Option<String>,
    pub inputs: Vec<FileContent>,
    pub limits: Limits,
    pub labels: BTreeMap<String, String>,
    /// Labels that the worker must have.
    pub on: BTreeMap<String, String>,
    /// Within `rgrid_api::names::PRIORITIES`.
    pub priority: i16,
    pub idempotency: Option<IdempotencyKey>,
    /// The key that submitted it.
    pub key: Option<KeyId>,
    /// The URL to call when it has ended.
    pub webhook: Option<String>,
}
