//! What every request passes before it reaches its handler.

pub(crate) mod auth;
pub(crate) mod client_address;
mod cross_origin;
pub(crate) mod rate_limit;
