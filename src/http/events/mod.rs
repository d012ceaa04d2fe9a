//! `GET /executions/{id}/events`: follows an execution live. `docs/events.md` describes the protocol.

mod follower;
mod follower_limit;
mod tail;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;

use crate::execution::StreamOffsets;
use crate::http::middleware::auth::Authenticated;
use crate::http::openapi::{CommonErrors, ExecutionErrors, IdParameter, ValidationErrors};
use crate::http::problem::ApiError;
use crate::http::resolve;
use crate::http::server::Api;
use follower::Follower;
pub(crate) use follower_limit::FollowerLimit;

/// Follow an execution live
///
/// Server-Sent Events: `status`, `output` and, at the end, `end`. See `docs/events.md`.
#[utoipa::path(
    get, path = "/api/v1/executions/{id}/events", tag = "executions",
    params(IdParameter,
        ("last-event-id" = Option<String>, Header, pattern = "^[0-9]{1,9}(-[0-9]{1,18}){3}(-end)?$", description = "Resume after this event"),
        ("after" = Option<String>, Query, pattern = "^[0-9]{1,9}(-[0-9]{1,18}){3}(-end)?$", description = "Same as `Last-Event-ID`, for clients that cannot set headers")),
    responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        (status = 204, description = "There are no events after this one"),
        CommonErrors, ExecutionErrors, ValidationErrors
    )
)]
pub(crate) async fn events(
    api: Data<Api>,
    Authenticated(caller): Authenticated,
    id: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let id = resolve::execution(&api, &caller, &id).await?;
    let offsets = resume_offsets(&request)?;
    let permit = api.follower_limit.acquire()?;
    // Subscribes before the first query, so that no change is missed in between.
    let subscription = api.store.follow(&id);
    let progress = api.store.progress(&id).await?;
    if offsets.attempt > progress.attempt || (offsets.ended && !progress.status.is_final()) {
        return Err(ApiError::field("last-event-id", "is not the ID of an event of this execution"));
    }
    if offsets.ended {
        // Tells the browser's EventSource not to reconnect.
        return Ok(HttpResponse::NoContent().finish());
    }
    let follower = Follower::new(api.into_inner(), id, offsets, subscription, permit);
    let events = stream::unfold(follower, |mut follower| async move {
        let events = follower.next().await?;
        Some((Ok::<_, actix_web::Error>(events), follower))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        // Keeps proxies from buffering the events.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(events))
}

fn resume_offsets(request: &HttpRequest) -> Result<StreamOffsets, ApiError> {
    if let Some(value) = request.headers().get("last-event-id") {
        let invalid = |message: String| ApiError::field("last-event-id", message);
        let text = value.to_str().map_err(|_| invalid("is not an event ID of this server".to_owned()))?;
        return if text.is_empty() { Ok(StreamOffsets::default()) } else { text.parse().map_err(invalid) };
    }
    let mut query = form_urlencoded::parse(request.query_string().as_bytes());
    match query.find(|(name, _)| name == "after") {
        Some((_, text)) => text.parse().map_err(|message: String| ApiError::field("after", message)),
        None => Ok(StreamOffsets::default()),
    }
}
