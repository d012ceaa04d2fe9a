//! Ids in paths: whole, or any unambiguous beginning.

use super::problem::ApiError;
use super::server::Api;
use crate::execution::ExecutionId;

pub(super) async fn execution(api: &Api, asked: &str) -> Result<ExecutionId, ApiError> {
    let none = || ApiError::NotFound("there is no such execution".to_owned());
    let prefix = ExecutionId::normalise_prefix(asked).ok_or_else(none)?;
    if prefix.len() == ExecutionId::LENGTH {
        // Whoever reads it finds out whether it exists.
        return Ok(ExecutionId::from_stored(prefix));
    }
    Ok(api.store.resolve(&prefix).await?)
}
