//! Reads Python scripts without running them.

mod distributions;
mod imports;
pub mod inline_metadata;
pub mod suggestions;
pub mod versions;
