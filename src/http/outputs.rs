//! Output files: their list and their content.

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_DISPOSITION, ContentDisposition};
use actix_web::web::Path;
use rgrid_api::OutputList;

use crate::http::{ApiError, CommonErrors, ExecutionErrors, ExecutionRequest, HttpResult, IdParameter};
use crate::store::StoreError;

/// List the output files
#[utoipa::path(
    get, operation_id = "list_outputs", path = "/api/v1/executions/{id}/outputs", tag = "outputs",
    params(IdParameter),
    responses((status = 200, body = OutputList), CommonErrors, ExecutionErrors)
)]
pub(crate) async fn list(ExecutionRequest { api, id, .. }: ExecutionRequest) -> HttpResult {
    // An execution that does not exist must not look like one without outputs.
    api.store.status(&id).await?;
    Ok(HttpResponse::Ok().json(OutputList { items: api.store.outputs(&id).await? }))
}

/// Download an output file
#[utoipa::path(
    get, path = "/api/v1/executions/{id}/outputs/{name}", tag = "outputs",
    params(IdParameter, ("name" = String, Path, description = "As in the list; may contain slashes")),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"), CommonErrors, ExecutionErrors
    )
)]
pub(crate) async fn download(
    ExecutionRequest { api, id, .. }: ExecutionRequest,
    path: Path<(String, String)>,
) -> HttpResult {
    let (_, name) = path.into_inner();
    // Postgres rejects NUL in text, and no file name contains it.
    let file = match name.contains('\0') {
        true => Err(StoreError::NotFound),
        false => api.store.output(&id, &name).await,
    };
    if let Err(StoreError::NotFound) = file {
        // An execution that does not exist must not look like one without this file.
        api.store.status(&id).await?;
        return Err(ApiError::NotFound(format!("no such output file of {id}")));
    }
    let base = name.rsplit('/').next().unwrap_or(&name).to_owned();
    // A script controls the content, so a browser must not display it.
    let attachment = ContentDisposition::attachment(base);
    Ok(HttpResponse::Ok()
        .content_type("application/octet-stream")
        .insert_header((CONTENT_DISPOSITION, attachment))
        .body(file?.content))
}
