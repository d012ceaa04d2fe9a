//! The subcommands of `rgridd` other than `serve`.

pub mod doctor;
pub mod firewall;
pub mod healthcheck;
pub mod keys;
pub mod migrate;
