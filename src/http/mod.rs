//! The HTTP API: the only place that knows actix-web.
//!
//! Requests are parsed at the border (`submission.rs`, `admission.rs`, `path.rs`) into types that cannot
//! be wrong; errors of all kinds become one `problem::ApiError` and leave as `application/problem+json`.

mod dashboard;
mod events;
mod executions;
mod limit_suggestion;
mod list;
mod meta;
mod metrics;
mod middleware;
mod openapi;
mod outputs;
mod problem;
mod readiness;
mod receipt;
mod resolve;
mod server;
mod submit;
mod validate;
mod webhook;

pub use readiness::Readiness;
pub use server::{Api, Server, serve};
