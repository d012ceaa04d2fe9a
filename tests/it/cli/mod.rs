//! The CLI in real processes.

mod batch;
mod command_line;
mod follow;
mod saving;
