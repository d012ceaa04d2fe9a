//! Resolves the IDs in paths: complete, or any unambiguous prefix.

use actix_web::dev::Payload;
use actix_web::web::{Data, Path};
use actix_web::{Error, FromRequest, HttpRequest};
use futures_util::future::LocalBoxFuture;

use crate::execution::{Caller, ExecutionId};
use crate::http::{Api, ApiError, Authenticated, IdParameter};
use crate::store::StoreError;

/// A request for one execution. Its extraction is the only place that decides whether a caller may see an execution: to
/// another key, it does not exist.
pub(crate) struct ExecutionRequest {
    pub api: Data<Api>,
    pub caller: Caller,
    pub id: ExecutionId,
}

impl FromRequest for ExecutionRequest {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let parts = <(Data<Api>, Authenticated, Path<IdParameter>)>::from_request(request, payload);
        Box::pin(async move {
            let (api, Authenticated(caller), path) = parts.await?;
            let not_found = || ApiError::from(StoreError::NotFound);
            let prefix = ExecutionId::normalise_prefix(&path.id).ok_or_else(not_found)?;
            let id = if prefix.len() == ExecutionId::LENGTH && caller.restricted_to().is_none() {
                // The handler's own query finds out whether it exists.
                ExecutionId::from_stored(prefix)
            } else {
                api.store.resolve(&prefix, &caller).await.map_err(ApiError::from)?
            };
            Ok(Self { api, caller, id })
        })
    }
}
