//! The statements that move an execution through the queue.

pub(crate) mod cancel;
pub(crate) mod claim;
pub(crate) mod finish;
pub(crate) mod release;
pub(crate) mod rows;
pub(crate) mod submit;
