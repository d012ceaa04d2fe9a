//! What every request passes before its handler.

pub(crate) mod auth;
pub(crate) mod client_address;
pub(crate) mod cross_origin;
pub(crate) mod rate_limit;
