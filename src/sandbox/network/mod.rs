//! The networks of sandboxes and the firewall around them.

mod bridge;
pub(crate) mod firewall;
pub(crate) mod holders;
mod name_servers;
