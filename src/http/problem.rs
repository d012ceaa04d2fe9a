//! Every error of the API, and how it looks from outside.

use actix_web::body::BoxBody;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use rgrid_api::problem::PROBLEM_JSON;
use rgrid_api::{FieldError, Problem};
use thiserror::Error;

use crate::execution::Scope;
use crate::store::StoreError;

/// Seconds after which a client may ask again.
const RETRY_AFTER: &str = "1";

#[derive(Debug, Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    Unauthorized(String),
    /// The key is fine, but not for this.
    #[error("this key may not do that: it lacks the scope {0}")]
    Forbidden(Scope),
    /// A browser asks for a page of somebody else.
    #[error("{0}")]
    Foreign(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{method} is not possible here")]
    MethodNotAllowed { method: String, allowed: &'static str },
    #[error("{0}")]
    Timeout(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    HeadTooLarge(String),
    #[error("the body must be JSON, with content-type: application/json")]
    UnsupportedMediaType,
    #[error("the request is well-formed but wrong")]
    Unprocessable(Vec<FieldError>),
    #[error("{0}")]
    TooManyRequests(String),
    /// More requests than this client may make.
    #[error("{words}")]
    TooFast { words: String, retry_after: u64 },
    /// Also after everything that may go has gone.
    #[error("{0}")]
    Full(String),
    /// Passing: the database is away.
    #[error("{0}")]
    Unavailable(String),
    /// Passing as well, but somebody has to make room first.
    #[error("{0}")]
    NoRoom(String),
    /// Our mistake; the words are for the log.
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Self::Unprocessable(vec![FieldError { field: field.to_owned(), message: message.into() }])
    }

    fn title(&self) -> &'static str {
        match self {
            ApiError::BadRequest(_) => "bad request",
            ApiError::Unauthorized(_) => "unauthorized",
            ApiError::Forbidden(_) | ApiError::Foreign(_) => "forbidden",
            ApiError::NotFound(_) => "not found",
            ApiError::MethodNotAllowed { .. } => "method not allowed",
            ApiError::Timeout(_) => "request timeout",
            ApiError::Conflict(_) => "conflict",
            ApiError::TooLarge(_) => "too large",
            ApiError::HeadTooLarge(_) => "request header fields too large",
            ApiError::UnsupportedMediaType => "unsupported media type",
            ApiError::Unprocessable(_) => "unprocessable",
            ApiError::TooManyRequests(_) | ApiError::TooFast { .. } => "too many requests",
            ApiError::Full(_) => "insufficient storage",
            ApiError::Unavailable(_) | ApiError::NoRoom(_) => "unavailable",
            ApiError::Internal(_) => "internal error",
        }
    }

    fn detail(&self) -> String {
        match self {
            ApiError::Internal(_) => {
                "something went wrong inside RGrid; the server's log says what".to_owned()
            }
            ApiError::Unavailable(_) => "the database is not available at the moment".to_owned(),
            ApiError::NoRoom(_) => "the database's disk is full".to_owned(),
            other => other.to_string(),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            ApiError::Unavailable(_) => Some("nothing was accepted; ask again in a moment"),
            ApiError::NoRoom(_) => Some("nothing was accepted; ask again when there is room"),
            ApiError::Full(_) => Some("wait for some of what runs to end, or raise retention.disk_budget"),
            ApiError::TooManyRequests(_) => Some("ask again when some of what waits has run"),
            ApiError::Unauthorized(_) => {
                Some("send `Authorization: Bearer rg_…`; `rgridd keys create` makes a key on the server")
            }
            ApiError::Forbidden(_) => Some("`rgridd keys create --scope …` on the server makes one that may"),
            ApiError::Foreign(_) => Some("a server with auth.mode = \"keys\" may be asked from anywhere"),
            ApiError::NotFound(_) => Some("`/docs` on this server describes the API"),
            _ => None,
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            ApiError::BadRequest(_) => StatusCode::BAD_REQUEST,
            ApiError::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            ApiError::Forbidden(_) | ApiError::Foreign(_) => StatusCode::FORBIDDEN,
            ApiError::NotFound(_) => StatusCode::NOT_FOUND,
            ApiError::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
            ApiError::Conflict(_) => StatusCode::CONFLICT,
            ApiError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            ApiError::HeadTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            ApiError::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ApiError::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ApiError::TooManyRequests(_) | ApiError::TooFast { .. } => StatusCode::TOO_MANY_REQUESTS,
            ApiError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
            ApiError::Unavailable(_) | ApiError::NoRoom(_) => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        match self {
            ApiError::Internal(words) => slog_scope::error!("a request failed"; "error" => words),
            ApiError::NoRoom(words) => slog_scope::warn!("a request was refused"; "error" => words),
            _ => {}
        }
        let status = self.status_code();
        let errors = match self {
            ApiError::Unprocessable(errors) => errors.clone(),
            _ => Vec::new(),
        };
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: self.title().to_owned(),
            status: status.as_u16(),
            detail: self.detail(),
            hint: self.hint().map(str::to_owned),
            errors,
        };
        let mut response = HttpResponse::build(status);
        match self {
            ApiError::Unavailable(_) | ApiError::NoRoom(_) | ApiError::TooManyRequests(_) => {
                response.insert_header((header::RETRY_AFTER, RETRY_AFTER));
            }
            ApiError::TooFast { retry_after, .. } => {
                response.insert_header((header::RETRY_AFTER, *retry_after));
            }
            ApiError::Unauthorized(_) => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"rgrid\""));
            }
            ApiError::MethodNotAllowed { allowed, .. } => {
                response.insert_header((header::ALLOW, *allowed));
            }
            // What is left of the body must not be taken for the next request.
            ApiError::Timeout(_) => {
                response.force_close();
            }
            _ => {}
        }
        // These types always serialise.
        let body = serde_json::to_string(&problem).unwrap_or_default();
        response.content_type(PROBLEM_JSON).body(body)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskFull(words) => ApiError::NoRoom(words),
            passing if passing.is_transient() => ApiError::Unavailable(passing.to_string()),
            StoreError::NotFound => ApiError::NotFound("there is no such execution".to_owned()),
            StoreError::Ambiguous(count) => {
                let many = if count >= 20 { "20 or more".to_owned() } else { count.to_string() };
                ApiError::Conflict(format!("{many} executions begin with that id; write more of it"))
            }
            StoreError::KeyReused => {
                ApiError::Conflict("this Idempotency-Key was used for another submission".to_owned())
            }
            StoreError::Conflict(words) => ApiError::Conflict(words),
            other => ApiError::Internal(other.to_string()),
        }
    }
}

pub(crate) async fn no_such_path(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(ApiError::NotFound(format!("there is nothing at {}", request.path())))
}

pub(crate) async fn no_such_method(
    request: HttpRequest,
    allowed: &'static str,
) -> Result<HttpResponse, ApiError> {
    Err(ApiError::MethodNotAllowed { method: request.method().to_string(), allowed })
}
