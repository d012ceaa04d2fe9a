//! The daemon as a whole: the order in which its parts start and stop.

pub(crate) mod data_dir;
pub(crate) mod database;
pub(crate) mod docker_engine;
mod firewall;
mod health;
mod logging;
mod oom_score;
mod recovery;
pub(crate) mod signals;
mod startup;
mod worker_name;
mod worker_runtime;

pub use startup::{Role, serve};
