//! The daemon and the CLI as their users meet them: real binaries, real Postgres, real Docker.
//!
//! `make test` brings what is needed. A missing service fails a test with the words that fix it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod architecture;
mod attacks;
mod bad_input;
mod batch;
mod command_line;
mod dependencies;
mod diagnosis;
mod doctor;
mod drain;
mod environments;
mod events;
mod examples;
mod fault_run;
mod faults;
mod fence;
mod follow;
mod foreign_pages;
mod holders;
mod images;
mod keys;
mod main_job;
mod many_daemons;
mod metrics;
mod migrations;
mod model;
mod networks;
mod news;
mod openapi;
mod output;
mod pace;
mod postgres_tls;
mod probe;
mod queue;
mod receipt;
mod restart;
mod retention;
mod reuse;
mod runtimes;
mod sandbox_profile;
mod saving;
mod secrets;
mod slow_clients;
#[allow(dead_code, unused_imports, reason = "the other binary uses the rest")]
mod support;
mod tier2;
mod webhooks;
