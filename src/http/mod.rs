//! The HTTP API: the only module that uses actix-web.
//!
//! `submit.rs`, `validate.rs`, `list.rs` and `resolve.rs` parse requests into types that cannot hold invalid values. All
//! errors become one `problem::ApiError` and are sent as `application/problem+json`.

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
mod receipt;
mod resolve;
mod server;
mod submit;
mod validate;

pub use meta::Readiness;
pub use server::{Api, Server, serve};
