//! What every request passes before it reaches its handler.

pub(crate) mod auth;
mod cross_origin;
pub(crate) mod rate_limit;
pub(crate) mod wrong_keys;
