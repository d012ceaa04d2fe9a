//! Listing executions, reading one, waiting for its end, and cancelling it.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use rgrid_api::{Execution, ExecutionList, FailureKind, FieldError, NextTry, Status, Stream, names};
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use crate::execution::ExecutionId;
use crate::http::middleware::auth::check_again;
use crate::http::{
    Api, ApiError, Authenticated, CommonErrors, ExecutionErrors, ExecutionRequest, HttpResult, IdParameter,
    ValidationErrors,
};
use crate::settings::Settings;
use crate::store::Filter;

/// Maximum of `wait` in seconds; clients repeat the request.
const WAIT_MAX: u64 = 60;
/// How often a waiting request checks for an end whose notification was lost.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Executions per page of the list.
const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 1000;

/// List executions, newest first, without their output
#[utoipa::path(
    get, path = "/api/v1/executions", tag = "executions",
    params(("status" = Option<Status>, Query),
        ("label" = Option<Vec<String>>, Query, description = "As in `team=data`; executions must have all of them"),
        ("text" = Option<String>, Query, description = "Part of the ID, the script's name or the labels"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, pattern = "^exec_[0-9a-z]{26}$", description = "The `next_cursor` of the previous page")),
    responses((status = 200, body = ExecutionList), CommonErrors, ValidationErrors)
)]
pub(crate) async fn list(api: Data<Api>, caller: Authenticated, request: HttpRequest) -> HttpResult {
    let filter = parse_filter(form_urlencoded::parse(request.query_string().as_bytes()))?;
    let page = api.store.list(Filter { owner: caller.0.restricted_to().cloned(), ..filter }).await?;
    let next_cursor = page.next.map(|id| id.to_string());
    Ok(HttpResponse::Ok().json(ExecutionList { items: page.items, next_cursor }))
}

pub(crate) fn parse_filter<N: AsRef<str>, V: AsRef<str>>(
    pairs: impl Iterator<Item = (N, V)>,
) -> Result<Filter, ApiError> {
    let mut filter = Filter { limit: LIMIT_DEFAULT, ..Filter::default() };
    let mut errors = Vec::new();
    for (name, value) in pairs {
        let (name, value) = (name.as_ref(), value.as_ref());
        let result = match name {
            "status" => parse_status(value).map(|status| filter.status = Some(status)),
            "label" => parse_label(value, &mut filter.labels),
            "limit" => parse_limit(value).map(|limit| filter.limit = limit),
            "text" => {
                filter.text = Some(value.to_owned()).filter(|text| !text.is_empty());
                Ok(())
            }
            "cursor" => parse_cursor(value).map(|before| filter.before = Some(before)),
            _ => Err("unknown filter; available: status, label, text, limit, cursor".to_owned()),
        };
        if let Err(message) = result {
            errors.push(FieldError { field: name.to_owned(), message });
        }
    }
    if errors.is_empty() { Ok(filter) } else { Err(ApiError::Unprocessable(errors)) }
}

fn parse_status(value: &str) -> Result<Status, String> {
    let status = Status::ALL.into_iter().find(|status| status.as_str() == value);
    status.ok_or_else(|| {
        format!("unknown status {value:?}; available: {}", Status::ALL.map(Status::as_str).join(", "))
    })
}

fn parse_label(value: &str, labels: &mut BTreeMap<String, String>) -> Result<(), String> {
    let (key, value) = value.split_once('=').ok_or("must have the form label=team=data")?;
    names::check_label_key(key)?;
    names::check_label_value(value)?;
    labels.insert(key.to_owned(), value.to_owned());
    Ok(())
}

fn parse_limit(value: &str) -> Result<usize, String> {
    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| format!("must be a whole number between 1 and {LIMIT_MAX}"))
}

/// The last ID of the previous page; opaque to clients.
fn parse_cursor(value: &str) -> Result<ExecutionId, String> {
    let id = ExecutionId::normalise_prefix(value).filter(|id| id.len() == ExecutionId::LENGTH && id == value);
    id.map(ExecutionId::from_stored).ok_or_else(|| "was not issued by this server".to_owned())
}

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
    ExecutionRequest { api, caller, id }: ExecutionRequest,
    query: Query<WaitQuery>,
) -> HttpResult {
    let wait = query.wait.as_deref().map_or(Ok(0), |text| {
        text.parse().map_err(|_| {
            ApiError::field("wait", format!("{text:?} is not a number of seconds, as in wait=30"))
        })
    })?;
    let mut execution = ended(&api, &id, Duration::from_secs(wait.min(WAIT_MAX))).await?;
    if wait > 0 {
        check_again(&api, &caller).await?;
    }
    if !execution.status.is_final() {
        let progress = api.store.progress(&id).await?;
        // The status may have changed since the execution was read; the response must be consistent.
        if progress.status == execution.status {
            (execution.phase, execution.queue_position) = (progress.phase, progress.queue_position);
            execution.waits_for = progress.waits_for;
        }
    }
    execution.next_try = suggest_limit(&execution, &api.settings);
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
    ExecutionRequest { api, id, .. }: ExecutionRequest,
    query: Query<LogsQuery>,
) -> HttpResult {
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
pub(crate) async fn cancel(ExecutionRequest { api, id, .. }: ExecutionRequest) -> HttpResult {
    api.store.cancel(&id).await?;
    Ok(HttpResponse::Accepted().json(api.store.execution(&id).await?))
}

/// Suggests a higher limit for a retry: about twice the limit, up to the server's maximum. None if no limit caused the failure or the maximum was in effect.
pub(crate) fn suggest_limit(execution: &Execution, settings: &Settings) -> Option<NextTry> {
    match execution.failure_kind? {
        FailureKind::Timeout => {
            let max = settings.execution.max_timeout.0.as_secs_f64();
            let seconds = more_time(execution.timeout_seconds, max)?;
            Some(NextTry { timeout_seconds: Some(seconds), memory_mb: None })
        }
        FailureKind::OutOfMemory => {
            let limit = execution.memory_mb << 20;
            // A higher limit does not help if the host ran out of memory.
            if execution.usage.is_some_and(|usage| usage.stayed_below(limit)) {
                return None;
            }
            let mebibytes = more_memory(execution.memory_mb, settings.sandbox.max_memory.0 / (1 << 20))?;
            Some(NextTry { timeout_seconds: None, memory_mb: Some(mebibytes) })
        }
        _ => None,
    }
}

fn more_time(limit: f64, max: f64) -> Option<f64> {
    Some((limit * 2.0).ceil().min(max)).filter(|more| *more > limit)
}

/// The next power of two, or the maximum.
fn more_memory(limit: u64, max: u64) -> Option<u64> {
    Some(limit.saturating_add(1).next_power_of_two().min(max)).filter(|more| *more > limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_but_never_above_the_maximum() {
        let memory = [64, 500, 512, 1900, 2048].map(|limit| more_memory(limit, 2048));
        assert_eq!(memory, [Some(128), Some(512), Some(1024), Some(2048), None]);
        let time = [0.4, 5.0, 400.0, 600.0].map(|limit| more_time(limit, 600.0));
        assert_eq!(time, [Some(1.0), Some(10.0), Some(600.0), None]);
    }

    fn filter(query: &str) -> Result<Filter, ApiError> {
        parse_filter(form_urlencoded::parse(query.as_bytes()))
    }

    #[test]
    fn filters_are_parsed_from_the_query() {
        let filter = filter("status=failed&label=team%3Ddata&label=a=b&limit=7").unwrap();
        assert_eq!((filter.status, filter.limit, filter.labels.len()), (Some(Status::Failed), 7, 2));
    }

    #[test]
    fn invalid_filters_are_rejected() {
        for query in
            ["limit=0", "limit=-1", "limit=1e9", "limit=1001", "status=asleep", "cursor=x", "label=x", "x=1"]
        {
            assert!(matches!(filter(query), Err(ApiError::Unprocessable(_))), "{query}");
        }
    }
}
