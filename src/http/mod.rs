//! The HTTP API: the only place that knows actix-web.
//!
//! Requests are parsed at the border (`submission.rs`, `admission.rs`, `path.rs`) into types that cannot
//! be wrong; errors of all kinds become one `problem::ApiError` and leave as `application/problem+json`.

mod admission;
mod auth;
mod client;
mod dashboard;
mod events;
mod executions;
mod foreign;
mod listing;
mod metrics;
mod next_try;
mod openapi;
mod outputs;
mod path;
mod problem;
mod rate;
mod readiness;
mod receipt;
mod server;
mod service;
mod submission;
mod webhook;

pub use readiness::Readiness;
pub use server::{Api, Server, serve};
