//! Submitting an execution, looking at it, changing it.

use std::time::Duration;

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use rgrid_api::units::format_size;
use rgrid_api::{Execution, Problem, Retry, Stream, Submission};
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use crate::execution::ExecutionId;
use crate::http::limit_suggestion;
use crate::http::middleware::auth::Asking;
use crate::http::openapi::{NoSuch, NotTaken, Refused, Wrong};
use crate::http::problem::ApiError;
use crate::http::resolve;
use crate::http::server::Api;
use crate::http::submit;
use crate::http::validate;
use crate::store::{OverBudget, Reservation, Submitted};

/// Longest `wait`; a client asks again.
const WAIT_MAX: u64 = 60;
/// How often a waiting request looks for an end that it was not told of.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Submit a script
#[utoipa::path(
    post, path = "/api/v1/executions", tag = "executions", request_body = Submission,
    params(("idempotency-key" = Option<String>, Header, pattern = "^[!-~]{1,255}$",
        description = "The same key and the same body again find the first submission")),
    responses(
        (status = 201, body = Execution, headers(("location" = String))),
        (status = 200, body = Execution, headers(("location" = String)), description = "It was known already"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "The idempotency key was used for another submission"),
        Refused, Wrong, NotTaken
    )
)]
pub(crate) async fn submit(
    api: Data<Api>,
    Asking(caller): Asking,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let body = submit::read(&api, &request, payload).await?;
    let admitted = validate::admit(body.submission, &caller, &api.settings, &api.runtimes);
    let mut new = admitted.map_err(ApiError::Unprocessable)?;
    new.key = caller.key().cloned();
    new.idempotency = submit::idempotency_key(&request, body.sha256)?;
    api.gate.admit(&api).await?;
    let handed_over =
        new.inputs.iter().map(|file| file.content.len()).sum::<usize>() + new.script.content.len();
    let _room = room(&api, handed_over as u64).await?;
    let (mut response, id) = match api.store.submit(new).await? {
        Submitted::New(id) => (HttpResponse::Created(), id),
        Submitted::Known(id) => (HttpResponse::Ok(), id),
    };
    drop(body.room);
    let execution = api.store.execution(&id).await?;
    Ok(response.insert_header((LOCATION, location(&id))).json(execution))
}

#[derive(Deserialize)]
pub(crate) struct Wait {
    wait: Option<String>,
}

/// Look at an execution, or wait for its end
#[utoipa::path(
    get, path = "/api/v1/executions/{id}", tag = "executions",
    params(("id" = String, Path, description = "An id, or any unambiguous beginning of one"),
        ("wait" = Option<u64>, Query, description = "Answer when it has ended, or after so many seconds")),
    responses((status = 200, body = Execution), Refused, NoSuch, Wrong)
)]
pub(crate) async fn get(
    api: Data<Api>,
    Asking(caller): Asking,
    id: Path<String>,
    query: Query<Wait>,
) -> Result<HttpResponse, ApiError> {
    let id = resolve::execution(&api, &caller, &id).await?;
    let execution = match seconds(query.wait.as_deref())? {
        0 => api.store.execution(&id).await?,
        seconds => ended(&api, &id, Duration::from_secs(seconds)).await?,
    };
    Ok(HttpResponse::Ok().json(with_standing(&api, &id, execution).await?))
}

/// What it is busy with, how many are before it, or what a next try may ask for.
async fn with_standing(api: &Api, id: &ExecutionId, mut execution: Execution) -> Result<Execution, ApiError> {
    if !execution.status.is_final() {
        let standing = api.store.progress(id).await?;
        // It may have gone on in between; what was read first is what is told.
        if standing.status == execution.status {
            (execution.phase, execution.queue_position) = (standing.phase, standing.queue_position);
            execution.waits_for = standing.waits_for;
        }
    }
    execution.next_try = limit_suggestion::of(&execution, &api.settings);
    Ok(execution)
}

fn seconds(asked: Option<&str>) -> Result<u64, ApiError> {
    let Some(text) = asked else { return Ok(0) };
    let wrong =
        || ApiError::field("wait", format!("{text:?} is no number of seconds; write it like wait=30"));
    text.parse::<u64>().map(|seconds| seconds.min(WAIT_MAX)).map_err(|_| wrong())
}

/// The execution as soon as it has ended, or as it is after that time.
async fn ended(api: &Api, id: &ExecutionId, patience: Duration) -> Result<Execution, ApiError> {
    let deadline = Instant::now() + patience;
    // Before the first look, so that no ending falls in between.
    let mut endings = api.store.ended_executions();
    loop {
        let execution = api.store.execution(id).await?;
        if execution.status.is_final() || Instant::now() >= deadline {
            return Ok(execution);
        }
        while !told(&mut endings, id, deadline).await && !api.store.status(id).await?.is_final() {
            if Instant::now() >= deadline {
                break;
            }
        }
    }
}

/// Whether the end was told; false when it is time to look for oneself.
async fn told(endings: &mut Receiver<ExecutionId>, id: &ExecutionId, deadline: Instant) -> bool {
    let next_look = (Instant::now() + LOOK_EVERY).min(deadline);
    loop {
        match timeout_at(next_look, endings.recv()).await {
            Ok(Ok(ended)) if ended != *id => {}
            Ok(Ok(_)) => return true,
            // Some were missed.
            Ok(Err(RecvError::Lagged(_))) | Err(_) => return false,
            // Nobody will be told any more.
            Ok(Err(RecvError::Closed)) => {
                tokio::time::sleep_until(next_look).await;
                return false;
            }
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Which {
    stream: Option<String>,
}

/// One stream of an execution's text, as it stands
#[utoipa::path(
    get, path = "/api/v1/executions/{id}/logs", tag = "executions",
    params(("id" = String, Path, description = "An id, or any unambiguous beginning of one"), ("stream" = Option<Stream>, Query)),
    responses((status = 200, body = String, content_type = "text/plain"), Refused, NoSuch, Wrong)
)]
pub(crate) async fn logs(
    api: Data<Api>,
    Asking(caller): Asking,
    id: Path<String>,
    query: Query<Which>,
) -> Result<HttpResponse, ApiError> {
    let id = resolve::execution(&api, &caller, &id).await?;
    let stream = match &query.stream {
        None => Stream::Stdout,
        Some(text) => text.parse().map_err(|message: String| ApiError::field("stream", message))?,
    };
    let found = api.store.stream(&id, stream).await?;
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(found.text))
}

/// Cancel an execution that has not ended
#[utoipa::path(
    post, path = "/api/v1/executions/{id}/cancel", tag = "executions", params(("id" = String, Path, description = "An id, or any unambiguous beginning of one")),
    responses((status = 202, body = Execution), Refused, NoSuch)
)]
pub(crate) async fn cancel(
    api: Data<Api>,
    Asking(caller): Asking,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = resolve::execution(&api, &caller, &id).await?;
    api.store.cancel(&id).await?;
    Ok(HttpResponse::Accepted().json(api.store.execution(&id).await?))
}

/// Run the same job once more
#[utoipa::path(
    post, path = "/api/v1/executions/{id}/retry", tag = "executions", request_body = Option<Retry>,
    params(("id" = String, Path, description = "An id, or any unambiguous beginning of one")),
    responses((status = 201, body = Execution, headers(("location" = String))), Refused, NoSuch, Wrong, NotTaken)
)]
pub(crate) async fn retry(
    api: Data<Api>,
    Asking(caller): Asking,
    id: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let id = resolve::execution(&api, &caller, &id).await?;
    let asked = submit::read_retry(&api, &request, payload).await?;
    let wanted = api.store.secret_names(&id).await?;
    let secrets = validate::secrets_again(&wanted, asked, &api.settings).map_err(ApiError::Unprocessable)?;
    api.gate.admit(&api).await?;
    let _room = room(&api, 0).await?;
    let again = api.store.retry(&id, secrets, caller.key().cloned()).await?;
    let execution = api.store.execution(&again).await?;
    Ok(HttpResponse::Created().insert_header((LOCATION, location(&again))).json(execution))
}

/// Room in the database for what comes in, and for what it will say.
async fn room(api: &Api, bytes: u64) -> Result<Reservation, ApiError> {
    let OverBudget { most, .. } = match api.budget.reserve(&api.store, bytes).await? {
        Ok(room) => return Ok(room),
        Err(none) => none,
    };
    Err(ApiError::Full(format!(
        "what waits and runs fills the {} that this server may store (retention.disk_budget); {} more do not fit",
        format_size(most),
        format_size(bytes)
    )))
}

fn location(id: &ExecutionId) -> String {
    format!("/api/v1/executions/{id}")
}
