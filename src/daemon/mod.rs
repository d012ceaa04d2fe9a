//! The daemon as a whole: the order in which its parts start and stop.

pub(crate) mod data_dir;
pub(crate) mod database;
pub(crate) mod docker_engine;
pub(crate) mod logging;
pub(crate) mod recovery;
pub(crate) mod signals;
pub(crate) mod startup;
pub(crate) mod worker_name;

pub use startup::{Role, serve};
