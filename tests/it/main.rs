//! The daemon and the CLI as their users meet them: real binaries, real Postgres, real Docker.
//!
//! `make test` brings what is needed. A missing service fails a test with the words that fix it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod architecture;
mod bad_input;
mod diagnosis;
mod doctor;
mod drain;
mod events;
mod main_job;
mod many_daemons;
mod metrics;
mod migrations;
mod model;
mod news;
mod output;
mod receipt;
mod restart;
mod retention;
mod sandbox_profile;
#[allow(dead_code, unused_imports, reason = "the other binary uses the rest")]
mod support;
mod webhooks;
