//! Files that a script left: their list, and their bytes.

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_DISPOSITION, ContentDisposition, DispositionParam, DispositionType};
use actix_web::web::{Data, Path};
use rgrid_api::OutputList;

use crate::http::middleware::auth::Asking;
use crate::http::openapi::{NoSuch, Refused};
use crate::http::problem::ApiError;
use crate::http::resolve;
use crate::http::server::Api;
use crate::store::StoreError;

/// List the files that the script left
#[utoipa::path(
    get, operation_id = "list_outputs", path = "/api/v1/executions/{id}/outputs", tag = "outputs", params(("id" = String, Path, description = "An id, or any unambiguous beginning of one")),
    responses((status = 200, body = OutputList), Refused, NoSuch)
)]
pub(crate) async fn list(
    api: Data<Api>,
    Asking(caller): Asking,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = resolve::execution(&api, &caller, &id).await?;
    // Tells an execution without outputs from one that does not exist.
    api.store.status(&id).await?;
    Ok(HttpResponse::Ok().json(OutputList { items: api.store.outputs(&id).await? }))
}

/// One of these files
#[utoipa::path(
    get, path = "/api/v1/executions/{id}/outputs/{name}", tag = "outputs",
    params(("id" = String, Path, description = "An id, or any unambiguous beginning of one"), ("name" = String, Path, description = "As in the list; it may have slashes")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), Refused, NoSuch)
)]
pub(crate) async fn download(
    api: Data<Api>,
    Asking(caller): Asking,
    asked: Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (id, name) = asked.into_inner();
    let id = resolve::execution(&api, &caller, &id).await?;
    // No file is called so, and Postgres would not even look for it.
    let found = match name.contains('\0') {
        true => Err(StoreError::NotFound),
        false => api.store.output(&id, &name).await,
    };
    let file = match found {
        Ok(file) => file,
        Err(StoreError::NotFound) => {
            // Tells an execution without that file from one that does not exist.
            api.store.status(&id).await?;
            return Err(ApiError::NotFound(format!("{id} has no output of that name")));
        }
        Err(other) => return Err(other.into()),
    };
    let base = name.rsplit('/').next().unwrap_or(&name).to_owned();
    // Never shown in a browser: it is whatever a script wrote.
    let attachment = ContentDisposition {
        disposition: DispositionType::Attachment,
        parameters: vec![DispositionParam::Filename(base)],
    };
    Ok(HttpResponse::Ok()
        .content_type("application/octet-stream")
        .insert_header((CONTENT_DISPOSITION, attachment))
        .body(file.content))
}
