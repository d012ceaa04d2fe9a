//! Installed dependencies.

mod dependencies;
#[allow(clippy::module_inception)]
mod environments;
