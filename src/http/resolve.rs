//! Ids in paths: whole, or any unambiguous beginning.

use crate::execution::{Caller, ExecutionId};
use crate::http::problem::ApiError;
use crate::http::server::Api;

/// The one place where it is decided whether a caller may know of an execution: what belongs to another key
/// is not there for it.
pub(crate) async fn execution(api: &Api, caller: &Caller, asked: &str) -> Result<ExecutionId, ApiError> {
    let none = || ApiError::NotFound("there is no such execution".to_owned());
    let prefix = ExecutionId::normalise_prefix(asked).ok_or_else(none)?;
    if prefix.len() == ExecutionId::LENGTH && caller.restricted_to().is_none() {
        // Whoever reads it finds out whether it exists.
        return Ok(ExecutionId::from_stored(prefix));
    }
    Ok(api.store.resolve(&prefix, caller).await?)
}
