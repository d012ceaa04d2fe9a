//! Claiming, ordering and speed of the queue.

mod many_daemons;
mod model;
mod notify;
mod pace;
#[allow(clippy::module_inception)]
mod queue;
