//! The daemon as a whole: the order in which its parts start and stop.

mod checks;
mod database;
pub mod doctor;
mod engine;
mod home;
mod logging;
pub mod migrate;
mod resume;
mod serve;
mod signals;
mod sweeper;
mod webhooks;

pub use serve::{Role, serve};
