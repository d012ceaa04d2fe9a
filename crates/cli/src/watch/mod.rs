//! Following and waiting for executions.

pub mod follow;
pub mod incremental;
pub mod interrupt;
pub mod phases;
pub mod status_line;
pub mod wait_mode;
pub mod waiting;
