//! Resolves the IDs in paths: complete, or any unambiguous prefix.

use crate::execution::{Caller, ExecutionId};
use crate::http::problem::ApiError;
use crate::http::server::Api;
use crate::store::StoreError;

/// The only place that decides whether a caller may see an execution: to another key, it does not exist.
pub(crate) async fn execution(api: &Api, caller: &Caller, prefix: &str) -> Result<ExecutionId, ApiError> {
    let prefix = ExecutionId::normalise_prefix(prefix).ok_or(StoreError::NotFound)?;
    if prefix.len() == ExecutionId::LENGTH && caller.restricted_to().is_none() {
        // The handler's own query finds out whether it exists.
        return Ok(ExecutionId::from_stored(prefix));
    }
    Ok(api.store.resolve(&prefix, caller).await?)
}
