//! `GET /executions/{id}/events`: follows an execution live. `docs/events.md` describes the protocol.

mod follower;

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::execution::StreamOffsets;
use crate::http::middleware::rate_limit::Client;
use crate::http::shares::{Share, Shares};
use crate::http::{
    ApiError, CommonErrors, ExecutionErrors, ExecutionRequest, HttpResult, IdParameter, ValidationErrors,
};
use crate::metrics::{METRICS, Raised};
use follower::Follower;

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
    ExecutionRequest { api, caller, id }: ExecutionRequest,
    request: HttpRequest,
) -> HttpResult {
    let offsets = resume_offsets(&request)?;
    let permit = api.follower_limit.acquire(Client::of(&request))?;
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
    let follower = Follower::new(api.into_inner(), caller, id, offsets, subscription, permit);
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

/// Limits the number of followers, and ends them when the server stops. Clones share the limit.
#[derive(Clone)]
pub(crate) struct FollowerLimit {
    permits: Arc<Semaphore>,
    shares: Shares,
    max: usize,
    closed: watch::Sender<bool>,
}

/// Returned to the limit when it is dropped.
pub(crate) struct FollowerPermit {
    _permit: OwnedSemaphorePermit,
    _share: Option<Share>,
    _counted: Raised,
    closed: watch::Receiver<bool>,
}

impl FollowerLimit {
    pub fn new(max: usize) -> Self {
        let permits = Arc::new(Semaphore::new(max));
        Self { permits, shares: Shares::of(max), max, closed: watch::channel(false).0 }
    }

    pub fn acquire(&self, client: Option<Client>) -> Result<FollowerPermit, ApiError> {
        let used_up = || {
            let max = self.shares.max();
            ApiError::TooManyRequests(format!(
                "too many followers: at most {max} are allowed at the same time per client (a quarter of http.followers)"
            ))
        };
        let share = client.map(|client| self.shares.take(client).ok_or_else(used_up)).transpose()?;
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            let max = self.max;
            ApiError::TooManyRequests(format!(
                "too many followers: at most {max} are allowed at the same time (http.followers)"
            ))
        })?;
        Ok(FollowerPermit {
            _permit: permit,
            _share: share,
            _counted: METRICS.followers.raise(),
            closed: self.closed.subscribe(),
        })
    }

    /// The server is stopping: all followers disconnect and can reconnect to another server.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }
}

impl FollowerPermit {
    /// Returns when the server stops.
    pub async fn closed(&mut self) {
        if self.closed.wait_for(|closed| *closed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
