//! The sandboxes' networks and the firewall around them.

pub(crate) mod firewall;
pub(crate) mod holders;
pub(crate) mod networks;
