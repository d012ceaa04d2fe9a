//! Saving output files.

pub mod destination;
pub mod outputs;
pub mod partial_file;
