//! Follows executions and waits for them.

pub mod follow;
pub mod interrupt;
pub mod phases;
pub mod status_line;
pub mod wait_mode;
