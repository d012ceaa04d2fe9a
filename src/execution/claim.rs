//! A claim on an execution, and what a worker needs to run it.

use std::fmt;
use std::time::Duration;

use crate::execution::{EnvVars, ExecutionId, KeyId, WorkerId};

/// An attempt that a worker owns. The attempt is the fencing token: whoever comes back late with
/// an older one, or from another worker, must not match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    pub execution: ExecutionId,
    pub attempt: i32,
    pub worker: WorkerId,
}

impl Claim {
    /// The name that the sandbox knows its job by.
    pub fn job_id(&self) -> String {
        format!("{}/{}", self.execution, self.attempt)
    }

    /// The opposite of [`Claim::job_id`], for a sandbox that was found again.
    pub fn parse_job_id(job: &str) -> Option<(ExecutionId, i32)> {
        let (id, attempt) = job.split_once('/')?;
        Some((ExecutionId::from_stored(id.to_owned()), attempt.parse().ok()?))
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attempt {}", self.execution, self.attempt)
    }
}

/// Everything about a claimed execution but the contents of its input files, which are read one by
/// one when they are handed over.
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
    /// The key that submitted it; none: somebody on a server that asked for none.
    pub owner: Option<KeyId>,
    /// When the execution was submitted until now, by the database's clock.
    pub waited: Duration,
}

/// The Recorder's answer; it steers the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendReply {
    Continue,
    CancelRequested,
    /// Somebody else owns the execution now, or it has ended: stop the sandbox, write nothing.
    ClaimLost,
}
