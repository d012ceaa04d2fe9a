//! `POST /executions`: reading the body, and whether there is room for it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{BytesMut, Payload};
use futures_util::StreamExt;
use rgrid_api::units::format_size;
use rgrid_api::{FieldError, Submission};
use sha2::{Digest, Sha256};

use super::problem::ApiError;
use super::server::Api;
use crate::execution::IdempotencyKey;
use crate::settings::Settings;

/// From the first to the last byte of a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Everything of a body that has no limit of its own: names, labels, JSON itself.
const SLACK: u64 = 1024 * 1024;
const KEY_MAX: usize = 255;
/// The queue's length is asked for at most this often.
const DEPTH_AGE: Duration = Duration::from_secs(1);

pub(super) struct Body {
    pub submission: Submission,
    pub sha256: Vec<u8>,
}

pub(super) async fn read(api: &Api, request: &HttpRequest, payload: Payload) -> Result<Body, ApiError> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(ApiError::UnsupportedMediaType);
    }
    let bytes = whole(&api.settings, request, payload).await?;
    Ok(Body { submission: parse(&bytes)?, sha256: Sha256::digest(&bytes).to_vec() })
}

async fn whole(
    settings: &Settings,
    request: &HttpRequest,
    mut payload: Payload,
) -> Result<BytesMut, ApiError> {
    let limit = largest(settings);
    let too_large = || {
        let (files, script) = (settings.submission.max_files_size.0, settings.submission.max_script.0);
        let words = format!(
            "a submission has at most {}: files {}, script {}",
            format_size(limit),
            format_size(files),
            format_size(script)
        );
        ApiError::TooLarge(words)
    };
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > limit) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    let reading = async {
        while let Some(piece) = payload.next().await {
            let piece =
                piece.map_err(|error| ApiError::BadRequest(format!("the body broke off: {error}")))?;
            if (body.len() + piece.len()) as u64 > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&piece);
        }
        Ok(())
    };
    let slow = |_| ApiError::BadRequest(format!("the body was not there after {}s", BODY_TIMEOUT.as_secs()));
    tokio::time::timeout(BODY_TIMEOUT, reading).await.map_err(slow)??;
    Ok(body)
}

/// Base64 makes four bytes of three; JSON escapes make up to six of one in text.
fn largest(settings: &Settings) -> u64 {
    let limits = &settings.submission;
    let text =
        limits.max_script.0 + limits.max_args_size.0 + limits.max_env_size.0 + limits.max_requirements.0;
    limits.max_files_size.0 / 3 * 4 + 6 * text + SLACK
}

fn parse(bytes: &[u8]) -> Result<Submission, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut json);
    let submission: Submission = parsed.map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.into_inner());
        if !inner.is_data() {
            return ApiError::BadRequest(format!("the body is not JSON: {inner}"));
        }
        let message = inner.to_string();
        ApiError::Unprocessable(vec![FieldError { field: named(&path, &message), message }])
    })?;
    json.end().map_err(|error| ApiError::BadRequest(format!("the body is not JSON: {error}")))?;
    Ok(submission)
}

/// serde names a missing or unknown field in its words alone.
fn named(path: &str, message: &str) -> String {
    let inner = message.split('`').nth(1).filter(|_| message.contains(" field `"));
    match (path, inner) {
        (".", Some(field)) => field.to_owned(),
        (".", None) => String::new(),
        (path, Some(field)) if !path.ends_with(field) => format!("{path}.{field}"),
        (path, _) => path.to_owned(),
    }
}

/// None when there is no such header.
pub(super) fn idempotency_key(
    request: &HttpRequest,
    sha256: Vec<u8>,
) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(value) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let wrong =
        || ApiError::BadRequest(format!("Idempotency-Key must have 1 to {KEY_MAX} visible ASCII characters"));
    let key = value.to_str().map_err(|_| wrong())?;
    if key.is_empty() || key.len() > KEY_MAX || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrong());
    }
    Ok(Some(IdempotencyKey { key: key.to_owned(), body_sha256: sha256 }))
}

/// Keeps the queue from growing without end.
#[derive(Default)]
pub(super) struct Gate {
    seen: Mutex<Option<(Instant, u64)>>,
}

impl Gate {
    pub async fn admit(&self, api: &Api) -> Result<(), ApiError> {
        let most = api.settings.queue.max_queued;
        let queued = match self.recent() {
            Some(queued) => queued,
            None => {
                let queued = api.store.queue_depth().await?.queued.unsigned_abs();
                *self.lock() = Some((Instant::now(), queued));
                queued
            }
        };
        if queued < most {
            self.count_one();
            return Ok(());
        }
        Err(ApiError::TooManyRequests(format!("{queued} executions are waiting, and {most} are the most")))
    }

    /// Between two looks what was let in counts as waiting, so that a burst does not get past the limit.
    fn count_one(&self) {
        if let Some((_, queued)) = self.lock().as_mut() {
            *queued += 1;
        }
    }

    fn recent(&self) -> Option<u64> {
        self.lock().filter(|(at, _)| at.elapsed() < DEPTH_AGE).map(|(_, queued)| queued)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Instant, u64)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
