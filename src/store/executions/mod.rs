//! Reading executions: their state, output, files and receipts.

pub(crate) mod files;
pub(crate) mod outputs;
pub(crate) mod progress;
pub(crate) mod query;
pub(crate) mod receipts;
