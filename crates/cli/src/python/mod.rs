//! Reads Python scripts without running them.

mod imports;
pub mod metadata;
pub mod packages;

pub use packages::ImportContext;
