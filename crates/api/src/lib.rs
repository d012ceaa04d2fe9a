//! Types of the RGrid HTTP API, shared by the daemon and its clients, and the rules about names and units that both
//! apply. The formats are a public contract: a change here affects every client.

pub mod execution;
pub mod names;
pub mod problem;
pub mod requirements;
pub mod server;
pub mod shape;
pub mod submission;
pub mod units;

pub use execution::{
    Execution, ExecutionList, FailureKind, NextTry, OutputEvent, OutputFile, OutputList, Phase, Phases,
};
pub use execution::{Receipt, ReceiptLimits, Status, StatusEvent, Stream, Usage};
pub use problem::{FieldError, Problem};
pub use requirements::Requirements;
pub use server::{FirewallState, Health, Runtime, RuntimeList};
pub use submission::{InputFile, Retry, Script, Submission, Webhook};
