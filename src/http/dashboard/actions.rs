//! Cancel and retry from a page.
//!
//! They need a header that no form and no foreign page can send without asking first, so that a link somewhere
//! on the web cannot do it with the reader's browser.

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};

use crate::http::executions;
use crate::http::middleware::auth::Asking;
use crate::http::problem::ApiError;
use crate::http::server::Api;

const HEADER: &str = "x-rgrid-dashboard";

pub(crate) async fn cancel(
    api: Data<Api>,
    asking: Asking,
    id: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    from_its_page(&request)?;
    executions::cancel(api, asking, id).await
}

pub(crate) async fn retry(
    api: Data<Api>,
    asking: Asking,
    id: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    from_its_page(&request)?;
    executions::retry(api, asking, id, request, payload).await
}

fn from_its_page(request: &HttpRequest) -> Result<(), ApiError> {
    if request.headers().contains_key(HEADER) {
        return Ok(());
    }
    Err(ApiError::BadRequest(format!("what changes something from the dashboard needs the header {HEADER}")))
}
