//! The subcommands of `rgridd` other than `serve`.

mod checks;
pub mod doctor;
pub mod firewall;
pub mod healthcheck;
pub mod keys;
pub mod migrate;
