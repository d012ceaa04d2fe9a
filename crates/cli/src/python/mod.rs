//! What can be told of a Python script without running it.

mod distributions;
mod imports;
pub mod inline_metadata;
pub mod requirements;
mod standard_library;
pub mod suggestions;
mod tokens;
pub mod versions;
