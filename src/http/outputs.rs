//! Files that a script left: their list, and their bytes.

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_DISPOSITION, ContentDisposition, DispositionParam, DispositionType};
use actix_web::web::{Data, Path};
use rgrid_api::OutputList;

use super::auth::Asking;
use super::path;
use super::problem::ApiError;
use super::server::Api;
use crate::store::StoreError;

pub(super) async fn list(
    api: Data<Api>,
    Asking(caller): Asking,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = path::execution(&api, &caller, &id).await?;
    // Tells an execution without outputs from one that does not exist.
    api.store.status(&id).await?;
    Ok(HttpResponse::Ok().json(OutputList { items: api.store.outputs(&id).await? }))
}

pub(super) async fn download(
    api: Data<Api>,
    Asking(caller): Asking,
    asked: Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (id, name) = asked.into_inner();
    let id = path::execution(&api, &caller, &id).await?;
    let file = match api.store.output(&id, &name).await {
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
