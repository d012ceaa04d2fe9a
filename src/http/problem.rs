//! Every error of the API, and the problem document (RFC 9457) that represents it.

use actix_web::body::BoxBody;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use rgrid_api::problem::PROBLEM_JSON;
use rgrid_api::{FieldError, Problem};
use thiserror::Error;

use crate::execution::Scope;
use crate::store::StoreError;

pub(crate) type HttpResult = Result<HttpResponse, ApiError>;

#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) enum ApiError {
    BadRequest(String),
    Unauthorized(String),
    /// The key is valid but does not allow this.
    #[error("the API key lacks the scope {0}")]
    Forbidden(Scope),
    /// A browser sent the request for a page of another site.
    CrossOrigin(String),
    NotFound(String),
    #[error("the method {method} is not allowed here")]
    MethodNotAllowed {
        method: String,
        allowed: String,
    },
    Timeout(String),
    Conflict(String),
    TooLarge(String),
    HeadTooLarge(String),
    #[error("unsupported media type: the body must be JSON, with `Content-Type: application/json`")]
    UnsupportedMediaType,
    #[error("the request is well-formed but invalid")]
    Unprocessable(Vec<FieldError>),
    /// The queue, the memory for submissions or the number of followers is at its limit.
    TooManyRequests(String),
    #[error("{message}")]
    RateLimited {
        message: String,
        retry_after: u64,
    },
    /// The data of queued and running executions alone exceeds the disk budget.
    InsufficientStorage(String),
    /// Temporary: the database cannot be reached.
    Unavailable(String),
    /// The database's disk is full, so someone has to act.
    DiskFull(String),
    /// A bug. The message goes to the log only.
    Internal(String),
}

impl ApiError {
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Self::Unprocessable(vec![FieldError { field: field.to_owned(), message: message.into() }])
    }

    /// The status, and what the client can do about the error.
    fn status_and_hint(&self) -> (StatusCode, Option<&'static str>) {
        let (status, hint) = match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, ""),
            Self::Unauthorized(_) => (
                StatusCode::UNAUTHORIZED,
                "send `Authorization: Bearer rg_…`; `rgridd keys create` creates a key on the server",
            ),
            Self::Forbidden(_) => (
                StatusCode::FORBIDDEN,
                "create a key with this scope on the server: `rgridd keys create --scope …`",
            ),
            Self::CrossOrigin(_) => (
                StatusCode::FORBIDDEN,
                "to use this server from other hosts or sites, set auth.mode = \"keys\"",
            ),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "`/docs` on this server describes the API"),
            Self::MethodNotAllowed { .. } => (StatusCode::METHOD_NOT_ALLOWED, ""),
            Self::Timeout(_) => (StatusCode::REQUEST_TIMEOUT, ""),
            Self::Conflict(_) => (StatusCode::CONFLICT, ""),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, ""),
            Self::HeadTooLarge(_) => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, ""),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, ""),
            Self::Unprocessable(_) => (StatusCode::UNPROCESSABLE_ENTITY, ""),
            Self::TooManyRequests(_) => {
                (StatusCode::TOO_MANY_REQUESTS, "try again when some executions have ended")
            }
            Self::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, ""),
            Self::InsufficientStorage(_) => (
                StatusCode::INSUFFICIENT_STORAGE,
                "wait until some executions have ended, or raise retention.disk_budget",
            ),
            Self::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "nothing was accepted; try again in a moment")
            }
            Self::DiskFull(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "nothing was accepted; free disk space, then try again")
            }
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, ""),
        };
        (status, Some(hint).filter(|hint| !hint.is_empty()))
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status_and_hint().0
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let (status, hint) = self.status_and_hint();
        let mut response = HttpResponse::build(status);
        let mut problem = Problem {
            kind: "about:blank".to_owned(),
            // RFC 9457: with `about:blank`, the title is the status's phrase.
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: self.to_string(),
            hint: hint.map(str::to_owned),
            errors: Vec::new(),
        };
        match self {
            Self::Internal(error) => {
                slog_scope::error!("request failed"; "error" => error);
                problem.detail = "internal error; the server's log contains the cause".to_owned();
            }
            Self::DiskFull(error) => {
                slog_scope::warn!("request rejected: disk full"; "error" => error);
                problem.detail = "the database's disk is full".to_owned();
            }
            Self::Unavailable(_) => problem.detail = "the database is currently unavailable".to_owned(),
            Self::Unprocessable(fields) => problem.errors.clone_from(fields),
            _ => {}
        }
        match self {
            Self::Unavailable(_) | Self::DiskFull(_) | Self::TooManyRequests(_) => {
                response.insert_header((header::RETRY_AFTER, 1))
            }
            Self::RateLimited { retry_after, .. } => {
                response.insert_header((header::RETRY_AFTER, *retry_after))
            }
            Self::Unauthorized(_) => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"rgrid\""))
            }
            Self::MethodNotAllowed { allowed, .. } => {
                response.insert_header((header::ALLOW, allowed.as_str()))
            }
            // The rest of the body must not be parsed as the next request.
            Self::Timeout(_) => response.force_close(),
            _ => &mut response,
        };
        // Serializing these types cannot fail.
        response.content_type(PROBLEM_JSON).body(serde_json::to_string(&problem).unwrap_or_default())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskFull(message) => Self::DiskFull(message),
            passing if passing.is_transient() => Self::Unavailable(passing.to_string()),
            StoreError::NotFound => Self::NotFound("no such execution".to_owned()),
            StoreError::Ambiguous(count) => {
                let count = if count >= 20 { "20 or more".to_owned() } else { count.to_string() };
                Self::Conflict(format!(
                    "the ID is ambiguous: {count} executions begin with it; use a longer prefix"
                ))
            }
            StoreError::KeyReused => {
                Self::Conflict("this Idempotency-Key was already used for another submission".to_owned())
            }
            StoreError::Conflict(message) => Self::Conflict(message),
            other => Self::Internal(other.to_string()),
        }
    }
}

pub(crate) async fn path_not_found(request: HttpRequest) -> HttpResult {
    Err(ApiError::NotFound(format!("no such path: {}", request.path())))
}

pub(crate) async fn method_not_allowed(request: HttpRequest, allowed: String) -> HttpResult {
    Err(ApiError::MethodNotAllowed { method: request.method().to_string(), allowed })
}
