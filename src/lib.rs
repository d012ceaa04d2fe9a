//! The RGrid daemon as a library, so that tests can reach its parts.
//!
//! Layers, each of which may use those to its right: `commands`, `daemon` → `http`, `worker`, `maintenance` →
//! `store`, `sandbox` → `execution`. Every layer may use `settings` and `metrics`. `tests/it/architecture.rs` fails
//! if an import violates these rules.

pub mod commands;
pub mod daemon;
pub mod execution;
mod failpoint;
pub mod http;
pub mod maintenance;
pub mod metrics;
pub mod sandbox;
pub mod settings;
pub mod store;
pub mod worker;
