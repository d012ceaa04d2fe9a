//! The daemon and the CLI as their users meet them: real binaries, real Postgres, real Docker.
//!
//! `make test` brings what is needed. A missing service fails a test with the words that fix it.

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
#[allow(dead_code, unused_imports, reason = "the other binary uses the rest")]
mod support;
