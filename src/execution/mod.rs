//! What an execution is and what may become of it. Plain types and rules: no I/O, no framework.

pub mod diagnosis;
mod id;
mod key;
mod offer;
mod outcome;
mod position;
mod requirements;
mod run;
mod status;
mod submission;
pub mod targets;

pub use id::{ExecutionId, WorkerId};
pub use key::{Caller, Key, KeyId, Scope};
pub use offer::Offer;
pub use outcome::{Conclusion, Cut, Outcome, PhaseTimes, RunText, StoredOutput};
pub use position::Position;
pub use requirements::Requirements;
pub use run::{Claim, Claimed, Verdict};
pub use status::may_become;
pub use submission::{Environment, FileContent, IdempotencyKey, Limits, NewExecution};

pub use rgrid_api::{FailureKind, Status, Stream, Usage};
