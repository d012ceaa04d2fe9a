//! The HTTP API: the only module that uses actix-web.
//!
//! `submit.rs`, `validate.rs`, `executions.rs` and `resolve.rs` parse requests into types that cannot hold invalid values. All
//! errors become one `problem::ApiError` and are sent as `application/problem+json`.

mod body;
mod connection_limit;
mod dashboard;
mod events;
mod executions;
mod meta;
mod metrics;
mod middleware;
mod openapi;
mod outputs;
mod problem;
mod receipt;
mod resolve;
mod server;
mod shares;
mod submit;
mod validate;

pub use meta::Readiness;
pub use server::{Api, Server, serve};

use middleware::auth::Authenticated;
use openapi::{BodyErrors, CommonErrors, ExecutionErrors, IdParameter, ValidationErrors};
use problem::{ApiError, HttpResult};
use resolve::ExecutionRequest;
