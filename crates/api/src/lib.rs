//! The words that the RGrid daemon and its clients exchange over HTTP.
//!
//! Plain `serde` types, one file a subject, and the few rules about names and units that both sides
//! must agree on. The formats are fixed by the contract: a change here is a change for every client.

pub mod event;
pub mod execution;
pub mod names;
pub mod output;
pub mod problem;
pub mod receipt;
pub mod requirements;
pub mod server;
pub mod shape;
pub mod submission;
pub mod units;

pub use event::{OutputEvent, Phase, Phases, StatusEvent};
pub use execution::{Execution, ExecutionList, FailureKind, NextTry, Status, Usage};
pub use output::{OutputFile, OutputList, Stream};
pub use problem::{FieldError, Problem};
pub use receipt::{Receipt, ReceiptLimits};
pub use requirements::Requirements;
pub use server::{Health, Runtime, RuntimeList};
pub use submission::{InputFile, Retry, Script, Submission, Webhook};
