//! Background work that no single execution needs: retention, old environments and images, webhooks.

pub(crate) mod environments;
pub(crate) mod holders;
pub(crate) mod images;
pub(crate) mod retention;
pub(crate) mod webhooks;
