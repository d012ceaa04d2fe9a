//! `GET /executions/{id}/events`: an execution as it happens. `docs/events.md` has the rules for clients.

mod follower;
mod follower_limit;
mod tail;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;

use crate::execution::StreamOffsets;
use crate::http::middleware::auth::Asking;
use crate::http::openapi::{NoSuch, Refused, Wrong};
use crate::http::problem::ApiError;
use crate::http::resolve;
use crate::http::server::Api;
use follower::Follower;
pub(crate) use follower_limit::Seats;

const EVENT_STREAM: &str = "text/event-stream";

/// Follow an execution live
///
/// Server-Sent Events: `status`, `output` and at the end `end`; `docs/events.md` describes them.
#[utoipa::path(
    get, path = "/api/v1/executions/{id}/events", tag = "executions",
    params(("id" = String, Path, description = "An id, or any unambiguous beginning of one"),
        ("last-event-id" = Option<String>, Header, pattern = "^[0-9]{1,9}(-[0-9]{1,18}){3}(-end)?$", description = "Goes on behind that event"),
        ("after" = Option<String>, Query, pattern = "^[0-9]{1,9}(-[0-9]{1,18}){3}(-end)?$", description = "The same for clients that can set no header")),
    responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        (status = 204, description = "There is nothing behind that event"),
        Refused, NoSuch, Wrong
    )
)]
pub(crate) async fn events(
    api: Data<Api>,
    Asking(caller): Asking,
    id: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let id = resolve::execution(&api, &caller, &id).await?;
    let behind = behind(&request)?;
    let seat = api.seats.take()?;
    // Before the first look, so that nothing falls in between.
    let watch = api.store.follow(&id);
    let standing = api.store.progress(&id).await?;
    if behind.attempt > standing.attempt || (behind.ended && !standing.status.is_final()) {
        return Err(ApiError::field("last-event-id", "is not an id of this execution"));
    }
    if behind.ended {
        // To a browser's EventSource this means: do not come again.
        return Ok(HttpResponse::NoContent().finish());
    }
    let follower = Follower::new(api.into_inner(), id, behind, watch, seat);
    let events = stream::unfold(follower, |mut follower| async move {
        let words = follower.next().await?;
        Some((Ok::<_, actix_web::Error>(words), follower))
    });
    let mut answer = HttpResponse::Ok();
    answer.content_type(EVENT_STREAM);
    // A proxy in between is not to collect them.
    Ok(answer.insert_header(("x-accel-buffering", "no")).streaming(events))
}

/// Where to go on: the header of a client that comes again, or `after` of one that can't set it.
fn behind(request: &HttpRequest) -> Result<StreamOffsets, ApiError> {
    let wrong = |message: String| ApiError::field("last-event-id", message);
    if let Some(value) = request.headers().get("last-event-id") {
        let text = value.to_str().map_err(|_| wrong("is not an id that this server gave".to_owned()))?;
        return if text.is_empty() { Ok(StreamOffsets::default()) } else { text.parse().map_err(wrong) };
    }
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(request.query_string())
        .map_err(|error| ApiError::BadRequest(format!("the query can't be read: {error}")))?;
    match pairs.into_iter().find(|(name, _)| name == "after") {
        Some((_, text)) => text.parse().map_err(|message: String| ApiError::field("after", message)),
        None => Ok(StreamOffsets::default()),
    }
}
