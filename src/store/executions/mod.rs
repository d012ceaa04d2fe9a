//! Reading executions: status, output and files.

pub(crate) mod files;
pub(crate) mod progress;
pub(crate) mod query;
