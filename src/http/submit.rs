//! `POST /executions` and `POST /executions/{id}/retry`, and the limit of the queue.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use parking_lot::Mutex;
use rgrid_api::shape::Object;
use rgrid_api::units::format_size;
use rgrid_api::{Execution, FieldError, Problem, Retry, Submission};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::execution::{ExecutionId, IdempotencyKey, KeyId};
use crate::http::body::{self, Body};
use crate::http::shares::share_of;
use crate::http::{
    Api, ApiError, Authenticated, BodyErrors, CommonErrors, ExecutionErrors, ExecutionRequest, HttpResult,
    IdParameter, ValidationErrors, validate,
};
use crate::store::{Reservation, Submitted};

const IDEMPOTENCY_KEY_MAX: usize = 255;
/// The length of the queue is queried at most this often.
const QUEUE_DEPTH_AGE: Duration = Duration::from_secs(1);

/// Submit a script
#[utoipa::path(
    post, path = "/api/v1/executions", tag = "executions", request_body = Submission,
    params(("idempotency-key" = Option<String>, Header, pattern = "^[!-~]{1,255}$",
        description = "The same key with the same body returns the first submission")),
    responses(
        (status = 201, body = Execution, headers(("location" = String))),
        (status = 200, body = Execution, headers(("location" = String)), description = "Already submitted with this key"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "The idempotency key was used for another submission"),
        CommonErrors, ValidationErrors, BodyErrors
    )
)]
pub(crate) async fn submit(
    api: Data<Api>,
    Authenticated(caller): Authenticated,
    request: HttpRequest,
    payload: Payload,
) -> HttpResult {
    require_json(&request)?;
    let Body { bytes, memory } = body::read(&api, &caller, &request, payload).await?;
    let submission: Submission = parse(&bytes)?;
    let sha256 = digest(&bytes, &submission);
    drop(bytes);
    let validated = validate::submission(submission, &caller, &api.settings, &api.runtimes);
    let mut new = validated.map_err(ApiError::Unprocessable)?;
    new.key = caller.key().cloned();
    new.idempotency = idempotency_key(&request, sha256)?;
    api.queue_limit.check(&api, caller.key()).await?;
    let size = new.inputs.iter().map(|file| file.content.len()).sum::<usize>() + new.script.content.len();
    let _disk = reserve_disk(&api, size as u64).await?;
    let (mut response, id) = match api.store.submit(new).await? {
        Submitted::New(id) => (HttpResponse::Created(), id),
        Submitted::Known(id) => (HttpResponse::Ok(), id),
    };
    drop(memory);
    let execution = api.store.execution(&id).await?;
    Ok(response.insert_header((LOCATION, location(&id))).json(execution))
}

/// Run the same job again
#[utoipa::path(
    post, path = "/api/v1/executions/{id}/retry", tag = "executions", request_body = Option<Retry>,
    params(IdParameter),
    responses(
        (status = 201, body = Execution, headers(("location" = String))),
        CommonErrors, ExecutionErrors, ValidationErrors, BodyErrors
    )
)]
pub(crate) async fn retry(
    ExecutionRequest { api, caller, id }: ExecutionRequest,
    request: HttpRequest,
    payload: Payload,
) -> HttpResult {
    let Body { bytes, memory } = body::read(&api, &caller, &request, payload).await?;
    let retry = if bytes.is_empty() {
        Retry::default()
    } else {
        require_json(&request)?;
        parse(&bytes)?
    };
    drop(memory);
    let required = api.store.secret_names(&id).await?;
    let secrets =
        validate::retry_secrets(&required, retry, &api.settings).map_err(ApiError::Unprocessable)?;
    api.queue_limit.check(&api, caller.key()).await?;
    let _disk = reserve_disk(&api, 0).await?;
    let new_id = api.store.retry(&id, secrets, caller.key().cloned()).await?;
    let execution = api.store.execution(&new_id).await?;
    Ok(HttpResponse::Created().insert_header((LOCATION, location(&new_id))).json(execution))
}

fn location(id: &ExecutionId) -> String {
    format!("/api/v1/executions/{id}")
}

/// Reserves disk space in the database for the inputs and the output of an execution.
async fn reserve_disk(api: &Api, bytes: u64) -> Result<Reservation, ApiError> {
    api.budget.reserve(&api.store, bytes).await?.map_err(|none| {
        ApiError::InsufficientStorage(format!(
            "not enough storage for {} more: queued and running executions use the {} that this server may store \
             (retention.disk_budget)",
            format_size(bytes),
            format_size(none.most)
        ))
    })
}

fn require_json(request: &HttpRequest) -> Result<(), ApiError> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_json = kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json");
    if is_json { Ok(()) } else { Err(ApiError::UnsupportedMediaType) }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize::<_, Object<T>>(&mut json);
    let Object(value) = parsed.map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.into_inner());
        if !inner.is_data() {
            return ApiError::BadRequest(format!("the body is not JSON: {inner}"));
        }
        // The field is more useful than line and column.
        let message = inner.to_string();
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        ApiError::Unprocessable(vec![FieldError { field: field_name(&path, &message), message }])
    })?;
    json.end().map_err(|error| ApiError::BadRequest(format!("the body is not JSON: {error}")))?;
    Ok(value)
}

/// The field an error is about: serde names a missing or unknown field only in its message.
fn field_name(path: &str, message: &str) -> String {
    let inner = message.split('`').nth(1).filter(|_| message.contains(" field `"));
    match (path, inner) {
        (".", Some(field)) => field.to_owned(),
        (".", None) => String::new(),
        (path, Some(field)) if !path.ends_with(field) => format!("{path}.{field}"),
        (path, _) => path.to_owned(),
    }
}

/// The digest outlives the secrets, and a weak secret could be guessed from it, so it covers only their names.
fn digest(bytes: &[u8], submission: &Submission) -> Vec<u8> {
    if submission.secrets.is_empty() {
        return Sha256::digest(bytes).to_vec();
    }
    let mut public = submission.clone();
    public.secrets.values_mut().for_each(String::clear);
    // Serializing these types cannot fail.
    Sha256::digest(serde_json::to_vec(&public).unwrap_or_default()).to_vec()
}

fn idempotency_key(request: &HttpRequest, sha256: Vec<u8>) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(value) = request.headers().get("idempotency-key") else { return Ok(None) };
    let is_valid = |key: &&str| {
        (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
    };
    match value.to_str().ok().filter(is_valid) {
        Some(key) => Ok(Some(IdempotencyKey { key: key.to_owned(), body_sha256: sha256 })),
        None => Err(ApiError::BadRequest(format!(
            "invalid Idempotency-Key: it must have 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters"
        ))),
    }
}

/// Limits the length of the queue.
#[derive(Default)]
pub(crate) struct QueueLimit {
    depth: Mutex<Option<(Instant, u64)>>,
    by_key: Mutex<Option<(Instant, HashMap<KeyId, u64>)>>,
}

impl QueueLimit {
    async fn check(&self, api: &Api, key: Option<&KeyId>) -> Result<(), ApiError> {
        let limit = api.settings.queue.max_queued;
        let recent = self.depth.lock().filter(|(at, _)| at.elapsed() < QUEUE_DEPTH_AGE);
        let queued = match recent {
            Some((_, queued)) => queued,
            None => {
                let queued = api.store.queue_depth().await?.queued.unsigned_abs();
                *self.depth.lock() = Some((Instant::now(), queued));
                queued
            }
        };
        if queued >= limit {
            return Err(ApiError::TooManyRequests(format!(
                "the queue is full: {queued} executions are queued, at most {limit} are allowed (queue.max_queued)"
            )));
        }
        let share = share_of(limit);
        // In a shorter queue, no key can have more than its share.
        if let Some(key) = key.filter(|_| queued >= share) {
            self.check_share(api, key, share).await?;
        }
        // Counted until the next query, so that a burst does not exceed the limit.
        if let Some((_, queued)) = self.depth.lock().as_mut() {
            *queued += 1;
        }
        Ok(())
    }

    async fn check_share(&self, api: &Api, key: &KeyId, share: u64) -> Result<(), ApiError> {
        let is_recent = self.by_key.lock().as_ref().is_some_and(|(at, _)| at.elapsed() < QUEUE_DEPTH_AGE);
        if !is_recent {
            let by_key = api.store.queued_by_key().await?;
            *self.by_key.lock() = Some((Instant::now(), by_key));
        }
        let mut by_key = self.by_key.lock();
        let Some((_, by_key)) = by_key.as_mut() else { return Ok(()) };
        let queued = by_key.entry(key.clone()).or_default();
        if *queued >= share {
            return Err(ApiError::TooManyRequests(format!(
                "{queued} executions of this API key are queued, at most {share} are allowed per key (a quarter of \
                 queue.max_queued)"
            )));
        }
        *queued += 1;
        Ok(())
    }
}
