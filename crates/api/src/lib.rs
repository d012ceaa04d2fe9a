//! Types of the RGrid HTTP API, shared by the daemon and its clients, and the rules about names and units that both
//! apply. The formats are a public contract: a change here affects every client.

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
