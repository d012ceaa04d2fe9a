//! `POST /executions`: reading the body, and whether there is room for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{BytesMut, Payload};
use futures_util::StreamExt;
use rgrid_api::shape::Object;
use rgrid_api::units::{format_duration, format_size};
use rgrid_api::{FieldError, Retry, Submission};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::execution::IdempotencyKey;
use crate::http::problem::ApiError;
use crate::http::server::Api;
use crate::settings::Settings;

/// Everything of a body that has no limit of its own: names, labels, JSON itself.
const SLACK: u64 = 1024 * 1024;
const KEY_MAX: usize = 255;
/// The queue's length is asked for at most this often.
const DEPTH_AGE: Duration = Duration::from_secs(1);
/// How long a submission waits for memory that others use.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Body {
    pub submission: Submission,
    pub sha256: Vec<u8>,
    /// Its share of the memory for submissions; given back when the submission is stored.
    pub room: OwnedSemaphorePermit,
}

pub(crate) async fn read(api: &Api, request: &HttpRequest, payload: Payload) -> Result<Body, ApiError> {
    must_be_json(request)?;
    let (bytes, room) = whole(api, request, payload).await?;
    let submission: Submission = parse(&bytes)?;
    let sha256 = digest(&bytes, &submission);
    Ok(Body { submission, sha256, room })
}

/// No body is a body without secrets.
pub(crate) async fn read_retry(
    api: &Api,
    request: &HttpRequest,
    payload: Payload,
) -> Result<Retry, ApiError> {
    let (bytes, _room) = whole(api, request, payload).await?;
    if bytes.is_empty() {
        return Ok(Retry::default());
    }
    must_be_json(request)?;
    parse(&bytes)
}

fn must_be_json(request: &HttpRequest) -> Result<(), ApiError> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_json = kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json");
    if is_json { Ok(()) } else { Err(ApiError::UnsupportedMediaType) }
}

/// Of the body as it came. The digest outlives the secrets, and a weak one could be guessed from it, so of
/// those only the names count.
fn digest(bytes: &[u8], submission: &Submission) -> Vec<u8> {
    if submission.secrets.is_empty() {
        return Sha256::digest(bytes).to_vec();
    }
    let mut public = submission.clone();
    public.secrets.values_mut().for_each(String::clear);
    // These types always serialise.
    Sha256::digest(serde_json::to_vec(&public).unwrap_or_default()).to_vec()
}

async fn whole(
    api: &Api,
    request: &HttpRequest,
    mut payload: Payload,
) -> Result<(BytesMut, OwnedSemaphorePermit), ApiError> {
    let settings = &api.settings;
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
    let room = api.gate.room(announced.unwrap_or(limit)).await?;
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
    let patience = settings.http.body_timeout.0;
    let slow = |_| {
        ApiError::Timeout(format!(
            "the body was not there after {} (http.body_timeout)",
            format_duration(patience)
        ))
    };
    tokio::time::timeout(patience, reading).await.map_err(slow)??;
    Ok((body, room))
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// Base64 makes four bytes of three; JSON escapes make up to six of one in text.
fn largest(settings: &Settings) -> u64 {
    let limits = &settings.submission;
    let text =
        limits.max_script.0 + limits.max_args_size.0 + 2 * limits.max_env_size.0 + limits.max_requirements.0;
    limits.max_files_size.0 / 3 * 4 + 6 * text + SLACK
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize::<_, Object<T>>(&mut json);
    let Object(value) = parsed.map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.into_inner());
        if !inner.is_data() {
            return ApiError::BadRequest(format!("the body is not JSON: {inner}"));
        }
        // Where it stands is told by the field.
        let message = inner.to_string();
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        ApiError::Unprocessable(vec![FieldError { field: named(&path, &message), message }])
    })?;
    json.end().map_err(|error| ApiError::BadRequest(format!("the body is not JSON: {error}")))?;
    Ok(value)
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
pub(crate) fn idempotency_key(
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

/// Keeps the queue, and what is being taken in, from growing without end.
pub(crate) struct Gate {
    seen: Mutex<Option<(Instant, u64)>>,
    /// A permit is 1 KiB of a submission that is being read.
    room: Arc<Semaphore>,
}

impl Gate {
    pub fn new(settings: &Settings) -> Self {
        // One submission of the largest kind always has a place.
        let room = kib(settings.submission.max_in_memory.0.max(largest(settings)));
        Self { seen: Mutex::default(), room: Arc::new(Semaphore::new(room as usize)) }
    }

    async fn room(&self, bytes: u64) -> Result<OwnedSemaphorePermit, ApiError> {
        let waiting = Arc::clone(&self.room).acquire_many_owned(kib(bytes));
        match tokio::time::timeout(ROOM_TIMEOUT, waiting).await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_)) | Err(_) => {
                let words = "too many large submissions are coming in at once (submission.max_in_memory)";
                Err(ApiError::TooManyRequests(words.to_owned()))
            }
        }
    }

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
