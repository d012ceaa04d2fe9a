//! The RGrid daemon as a library, so that its binary stays small and tests reach its parts.
//!
//! Layers, each may use those to its right: `app` → `http`, `actors` → `store`, `sandbox` →
//! `execution`. `settings` and `metrics` may be used by all. A test reads the sources and fails when an import
//! crosses these lines.

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
