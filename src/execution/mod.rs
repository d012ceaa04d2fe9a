//! The domain: executions and their rules. Plain types without I/O or a framework.

mod claim;
pub mod diagnosis;
pub mod exit_mapping;
mod id;
pub mod ip_ranges;
mod key;
mod labels;
mod outcome;
mod stream_offsets;
mod submission;
mod worker_condition;

pub use claim::{AppendReply, Claim, Claimed, ReleaseReason};
pub use id::{ExecutionId, WorkerId};
pub use key::{Caller, Key, KeyId, Scope};
pub use labels::LabelSets;
pub use outcome::{Cut, ExecutionRecord, Outcome, PhaseTimes, StoredText};
pub use stream_offsets::StreamOffsets;
pub use submission::{EnvVars, FileContent, IdempotencyKey, Limits, NewExecution, script_path};
pub use worker_condition::WorkerCondition;

pub use rgrid_api::{FailureKind, FirewallState, Requirements, Status, Stream, Usage};
