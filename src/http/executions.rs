//! Reading an execution, waiting for its end, and cancelling it.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{Data, Path, Query};
use rgrid_api::{Execution, Stream};
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use crate::execution::ExecutionId;
use crate::http::middleware::auth::Authenticated;
use crate::http::openapi::{CommonErrors, ExecutionErrors, IdParameter, ValidationErrors};
use crate::http::problem::ApiError;
use crate::http::server::Api;
use crate::http::{limit_suggestion, resolve};

/// Maximum of `wait` in seconds; clients repeat the request.
const WAIT_MAX: u64 = 60;
/// How often a waiting request checks for an end whose notification was lost.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
pub(crate) struct WaitQuery {
    wait: Option<String>,
}

/// Get an execution, or wait for its end
#[utoipa::path(
    get, path = "/api/v1/executions/{id}", tag = "executions",
    params(IdParameter,
        ("wait" = Option<u64>, Query, description = "Respond when the execution has ended, or after this many seconds")),
    responses((status = 200, body = Execution), CommonErrors, ExecutionErrors, ValidationErrors)
)]
pub(crate) async fn get(
    api: Data<Api>,
    Authenticated(caller): Authenticated,
    id: Path<String>,
    query: Query<WaitQuery>,
) -> Result<HttpResponse, ApiError> {
    let id = resolve::execution(&api, &caller, &id).await?;
    let wait = query.wait.as_deref().map_or(Ok(0), |text| {
        text.parse().map_err(|_| {
            ApiError::field("wait", format!("{text:?} is not a number of seconds, as in wait=30"))
        })
    })?;
    let mut execution = ended(&api, &id, Duration::from_secs(wait.min(WAIT_MAX))).await?;
    if !execution.status.is_final() {
        let progress = api.store.progress(&id).await?;
        // The status may have changed since the execution was read; the response must be consistent.
        if progress.status == execution.status {
            (execution.phase, execution.queue_position) = (progress.phase, progress.queue_position);
            execution.waits_for = progress.waits_for;
        }
    }
    execution.next_try = limit_suggestion::for_retry(&execution, &api.settings);
    Ok(HttpResponse::Ok().json(execution))
}

/// The execution as soon as it has ended, or its current state after `wait`.
async fn ended(api: &Api, id: &ExecutionId, wait: Duration) -> Result<Execution, ApiError> {
    let deadline = Instant::now() + wait;
    // Subscribes before the first query, so that no end is missed in between.
    let mut endings = api.store.ended_executions();
    loop {
        let execution = api.store.execution(id).await?;
        if execution.status.is_final() || Instant::now() >= deadline {
            return Ok(execution);
        }
        while !notified(&mut endings, id, deadline).await && !api.store.status(id).await?.is_final() {
            if Instant::now() >= deadline {
                break;
            }
        }
    }
}

/// Whether a notification of the end arrived; `false` when it is time to check the status.
async fn notified(endings: &mut Receiver<ExecutionId>, id: &ExecutionId, deadline: Instant) -> bool {
    let next_check = (Instant::now() + CHECK_INTERVAL).min(deadline);
    loop {
        match timeout_at(next_check, endings.recv()).await {
            Ok(Ok(ended)) if ended != *id => {}
            Ok(Ok(_)) => return true,
            Ok(Err(RecvError::Lagged(_))) | Err(_) => return false,
            Ok(Err(RecvError::Closed)) => {
                tokio::time::sleep_until(next_check).await;
                return false;
            }
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct LogsQuery {
    stream: Option<String>,
}

/// Get the current content of one output stream
#[utoipa::path(
    get, path = "/api/v1/executions/{id}/logs", tag = "executions",
    params(IdParameter, ("stream" = Option<Stream>, Query)),
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        CommonErrors, ExecutionErrors, ValidationErrors
    )
)]
pub(crate) async fn logs(
    api: Data<Api>,
    Authenticated(caller): Authenticated,
    id: Path<String>,
    query: Query<LogsQuery>,
) -> Result<HttpResponse, ApiError> {
    let id = resolve::execution(&api, &caller, &id).await?;
    let stream = match &query.stream {
        None => Stream::Stdout,
        Some(text) => text.parse().map_err(|message: String| ApiError::field("stream", message))?,
    };
    let content = api.store.stream(&id, stream).await?;
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(content.text))
}

/// Cancel a queued or running execution
#[utoipa::path(
    post, path = "/api/v1/executions/{id}/cancel", tag = "executions", params(IdParameter),
    responses((status = 202, body = Execution), CommonErrors, ExecutionErrors)
)]
pub(crate) async fn cancel(
    api: Data<Api>,
    Authenticated(caller): Authenticated,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = resolve::execution(&api, &caller, &id).await?;
    api.store.cancel(&id).await?;
    Ok(HttpResponse::Accepted().json(api.store.execution(&id).await?))
}
