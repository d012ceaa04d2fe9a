//! A submission that has been checked: what is in here can be run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::execution::{ExecutionId, KeyId};

/// Names and values of environment variables. The values never show in a log.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EnvVars(pub BTreeMap<String, String>);

impl EnvVars {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for EnvVars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.keys().map(|key| (key, "***"))).finish()
    }
}

/// A file of the submission.
#[derive(Clone, PartialEq, Eq)]
pub struct FileContent {
    pub name: String,
    pub content: Vec<u8>,
}

impl fmt::Debug for FileContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({} bytes)", self.name, self.content.len())
    }
}

/// What a run may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub timeout: Duration,
    pub memory_bytes: u64,
    /// Thousandths of a core.
    pub cpus_milli: u32,
    pub network: bool,
    pub max_attempts: u32,
}

/// The caller's word for "this is the same submission", and a digest of what it stood for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub key: String,
    pub body_sha256: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct NewExecution {
    pub id: ExecutionId,
    /// The name in the runtime table, not what the user called it.
    pub runtime: String,
    pub script: FileContent,
    pub args: Vec<String>,
    pub env: EnvVars,
    /// Like `env`, but kept only until the execution has ended, and masked in its output.
    pub secrets: EnvVars,
    pub requirements: Option<String>,
    pub inputs: Vec<FileContent>,
    pub limits: Limits,
    pub labels: BTreeMap<String, String>,
    /// Labels that its worker must have.
    pub on: BTreeMap<String, String>,
    /// Within `rgrid_api::names::PRIORITIES`.
    pub priority: i16,
    pub idempotency: Option<IdempotencyKey>,
    /// Whose it is.
    pub key: Option<KeyId>,
    /// Whom to tell when it has ended.
    pub webhook: Option<String>,
}
