//! A claim on an execution, and the data that a worker needs to run it.

use std::time::Duration;

use derive_more::Display;

use crate::execution::{EnvVars, ExecutionId, KeyId, WorkerId};

/// An attempt that a worker owns. The attempt is the fencing token: a worker that comes back late with an older attempt
/// must not match.
#[derive(Debug, Display, Clone, PartialEq, Eq, Hash)]
#[display("{execution} attempt {attempt}")]
pub struct Claim {
    pub execution: ExecutionId,
    pub attempt: i32,
    pub worker: WorkerId,
}

impl Claim {
    /// The job ID that the sandbox's init reports.
    pub fn job_id(&self) -> String {
        format!("{}/{}", self.execution, self.attempt)
    }

    /// The inverse of [`Claim::job_id`], to recover the sandbox of another worker.
    pub fn parse_job_id(job: &str) -> Option<(ExecutionId, i32)> {
        let (id, attempt) = job.split_once('/')?;
        Some((ExecutionId::from_stored(id.to_owned()), attempt.parse().ok()?))
    }
}

/// A claimed execution without the contents of its input files, which are read one by one during the upload.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub claim: Claim,
    pub runtime: String,
    pub script_name: String,
    pub script: Vec<u8>,
    pub args: Vec<String>,
    pub env: EnvVars,
    pub secrets: EnvVars,
    pub requirements: Option<String>,
    pub timeout: Duration,
    pub memory_bytes: u64,
    pub cpus_milli: u32,
    pub network: bool,
    pub has_inputs: bool,
    /// The API key that submitted it; `None` if the server requires no keys.
    pub owner: Option<KeyId>,
    /// Time since the submission, by the database's clock.
    pub waited: Duration,
}

/// The Recorder's answer to an append. It controls what the attempt does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendReply {
    Continue,
    CancelRequested,
    /// Another worker owns the execution, or it has ended: stop the sandbox and write nothing.
    ClaimLost,
}

/// Why a claim ends before its script has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseReason {
    /// The script has not started, so the attempt does not count.
    NotStarted,
    /// The worker stops, and the script did not end in time.
    Drained,
    WorkerLost,
    /// The worker's Docker engine, and the sandbox with it.
    EngineLost,
}
