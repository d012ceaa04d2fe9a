//! Integration tests of the daemon and the CLI with real binaries, Postgres and Docker.
//!
//! `make test` installs what they need. A test that misses a service fails and explains the fix.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod acceptance;
mod api;
mod architecture;
mod cli;
mod environments;
mod faults;
mod operations;
mod queue;
mod sandbox;
mod security;
#[allow(dead_code, unused_imports, reason = "the other test binary uses the rest")]
mod support;
