//! The daemon as a whole: the order in which its parts start and stop.

mod checks;
mod database;
pub mod doctor;
mod engine;
mod environments;
pub mod firewall;
mod holders;
mod home;
mod images;
pub mod keys;
mod logging;
pub mod migrate;
mod naming;
pub mod probe;
mod resume;
mod retention;
mod serve;
mod signals;
mod webhooks;

pub use serve::{Role, serve};
