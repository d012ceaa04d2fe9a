//! What needs more than `make setup` brings: the dashboard in a real browser, Prometheus' own word on metrics and alert
//! rules, and several machines. `make test-extra` brings it and runs this.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod browser;
mod dashboard;
mod machines;
mod prometheus;
mod upgrade;

#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the other binary uses the rest")]
mod support;
