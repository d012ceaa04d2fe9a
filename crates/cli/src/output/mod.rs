//! What a person reads: messages, tables, times, hints.

pub mod console;
pub mod escape;
pub mod hints;
pub mod report;
pub mod times;
