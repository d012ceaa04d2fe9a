//! Tests that need more than `make setup` installs: the dashboard in a browser, Prometheus' validation of metrics and alert
//! rules, several machines, and an older version. Run by `make test-extra`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod browser;
mod dashboard;
mod machines;
mod prometheus;
mod upgrade;

#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the other test binary uses the rest")]
mod support;
