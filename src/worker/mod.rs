//! The actors and their messages: Poller → Executor × N → Recorder.
//!
//! Data flows one way, and the reply to a message is the credit for the next one. An actor here is a
//! thin owner: its work runs in tasks whose `JoinHandle` tells a panic from a result, because actix
//! closes the mailbox of an actor that panics without a word.

mod active_claims;
mod attempt;
mod executor;
mod failed_installs;
mod heartbeat;
mod idle_executors;
mod poller;
mod recorder;
mod tended;
#[allow(clippy::module_inception)]
mod worker;

pub use active_claims::{ActiveClaims, Signal};
pub use executor::{Executor, Resume};
pub use poller::{Drain, Poller, TakeOver};
pub use recorder::{Backlog, Recorder};
pub use tended::{FatalError, tend};
pub use worker::Worker;
