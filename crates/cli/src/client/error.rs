//! Errors of a request: how they are reported on the command line, and which requests are retried.

use std::cell::Cell;
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use rgrid_api::problem::PROBLEM_JSON;
use rgrid_api::units::format_duration;
use rgrid_api::{FieldError, Problem};
use serde_json::Value;
use ureq::{Error, http::StatusCode};

use crate::client::MAX_DOCUMENT;
use crate::client::target::{Target, ValueSource};
use crate::client::transport::Response;
use crate::error::{CliError, Exit, Result};
use crate::output::Console;

pub(crate) enum RequestError {
    Transient(TransientError),
    Permanent(CliError),
}

pub(crate) struct TransientError {
    /// Reported if retries do not help.
    pub error: CliError,
    pub delivery: Delivery,
    pub retry_after: Option<Duration>,
}

/// Whether the server may have acted on the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    UnknownHost,
    NotConnected,
    /// The server declined the request.
    Rejected,
    Uncertain,
}

impl RequestError {
    fn permanent(message: String, target: &Target) -> Self {
        Self::Permanent(unreachable(message, check_address(target)))
    }

    pub fn from_transport(error: Error, target: &Target) -> Self {
        let url = &target.url;
        let delivery = match &error {
            Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) => return tls_error(target, &describe(&error)),
            // ureq reports an untrusted certificate, or a response without TLS, as invalid data.
            Error::Io(io) if io.kind() == ErrorKind::InvalidData => {
                return tls_error(target, &io.to_string());
            }
            Error::Protocol(_) | Error::LargeResponseHeader(..) => {
                let message = format!("the response from {url} is not HTTP: {}", describe(&error));
                return Self::permanent(message, target);
            }
            Error::HostNotFound => Delivery::UnknownHost,
            Error::Io(io) if is_unknown_host(io) => Delivery::UnknownHost,
            Error::Io(io) if is_not_connected(io.kind()) => Delivery::NotConnected,
            Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => Delivery::NotConnected,
            Error::ConnectionFailed | Error::ConnectProxyFailed(_) => Delivery::NotConnected,
            Error::Io(_) | Error::Timeout(_) | Error::BodyStalled => Delivery::Uncertain,
            _ => {
                let message = format!("cannot send a request to {url}: {}", describe(&error));
                return Self::permanent(message, target);
            }
        };
        let (message, hint) = match delivery {
            Delivery::UnknownHost | Delivery::NotConnected => {
                let hint = if target.is_loopback() { start_server(target) } else { check_address(target) };
                (format!("cannot connect to {url}: {}", describe(&error)), hint)
            }
            Delivery::Rejected | Delivery::Uncertain => {
                let message = format!("lost the connection to {url}: {}", describe(&error));
                (message, "check the server with `rgrid doctor`".to_owned())
            }
        };
        let error = unreachable(message, hint);
        Self::Transient(TransientError { error, delivery, retry_after: None })
    }
}

impl From<Error> for RequestError {
    /// An error while the body of a response is read.
    fn from(error: Error) -> Self {
        let message = format!("the server's response was interrupted: {}", describe(&error));
        let error = CliError::new(Exit::Unreachable, message);
        RequestError::Transient(TransientError { error, delivery: Delivery::Uncertain, retry_after: None })
    }
}

fn unreachable(message: String, hint: String) -> CliError {
    CliError::new(Exit::Unreachable, message).hint(hint)
}

fn tls_error(target: &Target, cause: &str) -> RequestError {
    // A server without TLS answers with something that is not a TLS message.
    let hint = if cause.contains("InvalidContentType") {
        let plain = target.url.replacen("https://", "http://", 1);
        format!("the server does not use TLS; if that is intended, use {plain}")
    } else {
        "certificates are checked against the system's; set SSL_CERT_FILE to use others".to_owned()
    };
    RequestError::Permanent(unreachable(format!("cannot connect securely to {}: {cause}", target.url), hint))
}

fn is_not_connected(kind: ErrorKind) -> bool {
    use ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable};
    matches!(kind, AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkDown | NetworkUnreachable)
}

/// The standard library has no error kind for it.
fn is_unknown_host(error: &std::io::Error) -> bool {
    error.to_string().starts_with("failed to lookup address information")
}

/// Without ureq's prefix and the system's error number.
fn describe(error: &Error) -> String {
    match error {
        Error::Io(io) => match io.kind() {
            ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                "connection closed by the server".to_owned()
            }
            ErrorKind::UnexpectedEof => "connection closed before the response".to_owned(),
            _ if is_unknown_host(io) => "unknown host".to_owned(),
            _ => io.to_string(),
        },
        Error::Timeout(_) => "timed out".to_owned(),
        Error::HostNotFound => "unknown host".to_owned(),
        other => other.to_string(),
    }
}

fn start_server(target: &Target) -> String {
    let start = "start a server with `make up` or `rgridd`";
    match &target.url_source {
        ValueSource::Default => format!("{start}, or select another one with --api-url"),
        source => format!("{start}, or check the address (from {source})"),
    }
}

fn check_address(target: &Target) -> String {
    match &target.url_source {
        ValueSource::Default => {
            "select a server with --api-url, or save its address with `rgrid init`".to_owned()
        }
        source => format!("check the address (from {source})"),
    }
}

pub(crate) fn check_status(response: Response, target: &Target) -> Result<Response, RequestError> {
    let (status, retry_after) = (response.status, response.retry_after);
    if (200..300).contains(&status) {
        return Ok(response);
    }
    if !response.is(PROBLEM_JSON) {
        return Err(proxy_error(&response, target));
    }
    let error = match serde_json::from_value(read_json(response, target)?) {
        Ok(problem) => problem_error(problem, target),
        Err(error) => CliError::failure(format!("cannot parse the response from {}: {error}", target.url)),
    };
    Err(match status {
        429 | 503 => {
            RequestError::Transient(TransientError { error, delivery: Delivery::Rejected, retry_after })
        }
        _ => RequestError::Permanent(error),
    })
}

/// An error that was not sent by RGrid, but by a proxy or another service at that address.
fn proxy_error(response: &Response, target: &Target) -> RequestError {
    if !matches!(response.status, 502..=504) {
        return not_rgrid(response, target);
    }
    let reason = StatusCode::from_u16(response.status).ok().and_then(|status| status.canonical_reason());
    let reason = reason.unwrap_or("the server is unavailable");
    let message = format!("a proxy in front of {} reports: {reason}", target.url);
    RequestError::Transient(TransientError {
        error: unreachable(message, check_address(target)),
        delivery: Delivery::Uncertain,
        retry_after: response.retry_after,
    })
}

pub(crate) fn not_rgrid(response: &Response, target: &Target) -> RequestError {
    let media_type = if response.media_type.is_empty() { "no content type" } else { &response.media_type };
    let message = format!("the service at {} is not an RGrid server (it sent {media_type})", target.url);
    RequestError::permanent(message, target)
}

pub(crate) fn read_json(response: Response, target: &Target) -> Result<Value, RequestError> {
    let body = response.read(MAX_DOCUMENT)?;
    serde_json::from_slice(&body).map_err(|error| {
        let message = format!("the response from {} is not JSON: {error}", target.url);
        RequestError::Permanent(CliError::failure(message).hint(check_address(target)))
    })
}

/// Reports an error of the API in the terms of the command line.
fn problem_error(problem: Problem, target: &Target) -> CliError {
    let Problem { status, title, detail, hint, errors, .. } = problem;
    let detail = if detail.is_empty() { title } else { detail };
    let server_hint = |error: CliError| CliError { hint, ..error };
    match status {
        401 => match &target.key {
            None => CliError::new(Exit::NotAllowed, format!("{} requires an API key", target.url))
                .hint("save one with `rgrid init`, or set RGRID_API_KEY"),
            Some((_, source)) => {
                let message = format!("{} does not recognize the API key from {source}", target.url);
                let hint = "list the keys on the server with `rgridd keys list`, or save another one with `rgrid init`";
                CliError::new(Exit::NotAllowed, message).hint(hint)
            }
        },
        403 => CliError::new(Exit::NotAllowed, format!("the API key does not allow this: {detail}"))
            .hint("create another key on the server with `rgridd keys create`"),
        // The path is unknown, not the execution: the address has a path too many, or the server is older.
        404 if ["/api/v1/", "/healthz", "/readyz"].iter().any(|path| detail.contains(path)) => {
            let message = format!("the RGrid server at {} does not have this API", target.url);
            unreachable(message, check_address(target))
        }
        404 => CliError::new(Exit::NotFound, detail).hint("list executions with `rgrid list`"),
        422 => {
            let mut lines: Vec<String> = errors.iter().map(describe_field_error).collect();
            server_hint(match lines.len() {
                0 => CliError::usage(detail),
                1 => CliError::usage(lines.remove(0)),
                _ => CliError { details: lines, ..CliError::usage("the server rejected these values:") },
            })
        }
        400 | 413 | 415 => server_hint(CliError::usage(detail)),
        503 => {
            let message = format!("{} is unavailable: {detail}", target.url);
            server_hint(CliError::new(Exit::Unreachable, message))
        }
        _ => server_hint(CliError::failure(detail)),
    }
}

/// Names the command-line option that set this field of the submission.
fn describe_field_error(FieldError { field, message }: &FieldError) -> String {
    let maps = [("env.", "--env"), ("secrets.", "--secret"), ("labels.", "--label")];
    if let Some((name, option)) =
        maps.iter().find_map(|(prefix, option)| Some((field.strip_prefix(prefix)?, option)))
    {
        return format!("{option} {name}: {message}");
    }
    let option = match field.as_str() {
        "" => return message.clone(),
        "timeout_seconds" => "--timeout",
        "memory_mb" => "--memory",
        "network" => "--no-network",
        "max_attempts" => "--max-attempts",
        "script.content" => "the script",
        "script.name" => "the script's name",
        "cpus" | "runtime" | "status" | "limit" | "label" => return format!("--{field}: {message}"),
        _ => field,
    };
    format!("{option}: {message}")
}

const INTERACTIVE_LIMIT: Duration = Duration::from_secs(30);
/// Long enough for an upgrade of a server that was reached before.
const WAITING_LIMIT: Duration = Duration::from_secs(300);
/// Rate limiting for less than this is not reported.
const SILENT_RATE_LIMIT: Duration = Duration::from_secs(5);
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryMode {
    /// The user expects an immediate response: give up at once if there is no server.
    Interactive,
    /// The command waits until an execution has ended.
    Waiting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idempotency {
    Idempotent,
    /// Retry only if the server cannot have acted on the request.
    NotIdempotent,
}

pub(crate) struct RetryPolicy<'a> {
    pub mode: RetryMode,
    /// The server has responded once, so its address is right.
    pub reached: Cell<bool>,
    pub console: &'a Console,
}

impl RetryPolicy<'_> {
    pub fn run<T>(
        &self,
        idempotency: Idempotency,
        attempt: impl Fn() -> Result<T, RequestError>,
    ) -> Result<T> {
        let (start, mut pause, mut reported) = (Instant::now(), MIN_PAUSE, false);
        // Fixed before the first attempt, which may reach the server and then fail.
        let limit = match self.mode {
            RetryMode::Waiting if self.reached.get() => WAITING_LIMIT,
            _ => INTERACTIVE_LIMIT,
        };
        loop {
            let TransientError { error, delivery, retry_after } = match attempt() {
                Ok(value) => return Ok(value),
                Err(RequestError::Permanent(error)) => return Err(error),
                Err(RequestError::Transient(error)) => error,
            };
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() || !self.may_retry(idempotency, delivery) {
                return Err(match (idempotency, delivery) {
                    (Idempotency::NotIdempotent, Delivery::Uncertain) => error
                        .hint("the request may have succeeded; list the latest executions with `rgrid list`"),
                    _ if reported => CliError { message: format!("{error} (gave up)"), ..error },
                    _ => error,
                });
            }
            let is_short_rate_limit = error.exit == Exit::Failure && start.elapsed() < SILENT_RATE_LIMIT;
            if !reported && !is_short_rate_limit {
                reported = true;
                self.console.warning(&format!("{error}; retrying for up to {}", format_duration(limit)));
                // The hint is about the address, which is right if the server was reached before.
                if let Some(hint) = error.hint.as_ref().filter(|_| !self.reached.get()) {
                    self.console.hint(hint);
                }
            }
            thread::sleep(retry_after.unwrap_or(pause).max(pause).min(left));
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    fn may_retry(&self, idempotency: Idempotency, delivery: Delivery) -> bool {
        match delivery {
            Delivery::UnknownHost => self.reached.get(),
            Delivery::NotConnected => self.reached.get() || self.mode == RetryMode::Waiting,
            Delivery::Rejected => true,
            Delivery::Uncertain => idempotency == Idempotency::Idempotent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(key: Option<&str>) -> Target {
        Target {
            url: "http://h".to_owned(),
            url_source: ValueSource::Default,
            key: key.map(|key| (key.to_owned(), ValueSource::Name("RGRID_API_KEY"))),
        }
    }

    fn problem(status: u16, fields: &[(&str, &str)]) -> Problem {
        let error = |(field, message): &(&str, &str)| FieldError {
            field: (*field).to_owned(),
            message: (*message).to_owned(),
        };
        Problem {
            kind: "about:blank".to_owned(),
            title: "title".to_owned(),
            status,
            detail: "detail".to_owned(),
            hint: None,
            errors: fields.iter().map(error).collect(),
        }
    }

    #[test]
    fn each_status_has_an_exit_code_and_is_not_shown_as_a_number() {
        for (status, code) in [
            (400, 2),
            (401, 4),
            (403, 4),
            (404, 3),
            (409, 1),
            (413, 2),
            (422, 2),
            (429, 1),
            (500, 1),
            (503, 5),
        ] {
            let error = problem_error(problem(status, &[]), &target(None));
            assert_eq!(error.exit.code(), code, "{status}");
            assert!(!error.message.contains(&status.to_string()), "{error}");
        }
    }

    #[test]
    fn a_missing_key_and_an_unknown_key_have_different_messages() {
        assert!(problem_error(problem(401, &[]), &target(None)).message.contains("requires an API key"));
        let unknown = problem_error(problem(401, &[]), &target(Some("rg_geheim"))).message;
        assert!(unknown.contains("from RGRID_API_KEY") && !unknown.contains("geheim"), "{unknown}");
    }

    #[test]
    fn fields_are_named_by_their_command_line_options() {
        let one = problem_error(problem(422, &[("timeout_seconds", "too long")]), &target(None));
        assert_eq!(one.message, "--timeout: too long");
        let several =
            [("env.1X", "invalid name"), ("files[1].name", "too long"), ("", "odd"), ("cpus", "many")];
        let several = problem_error(problem(422, &several), &target(None));
        assert_eq!(
            several.details,
            ["--env 1X: invalid name", "files[1].name: too long", "odd", "--cpus: many"]
        );
    }

    /// The number of attempts if the third one succeeds.
    fn attempts(mode: RetryMode, reached: bool, idempotency: Idempotency, delivery: Delivery) -> u32 {
        let console = Console::new();
        let policy = RetryPolicy { mode, reached: Cell::new(reached), console: &console };
        let attempts = Cell::new(0);
        let _ = policy.run(idempotency, || {
            attempts.set(attempts.get() + 1);
            if attempts.get() == 3 {
                return Ok(());
            }
            let error = CliError::new(Exit::Unreachable, "unavailable");
            Err(RequestError::Transient(TransientError { error, delivery, retry_after: None }))
        });
        attempts.get()
    }

    #[test]
    fn only_requests_that_may_be_repeated_are_retried() {
        use Delivery::{NotConnected, Rejected, Uncertain, UnknownHost};
        use Idempotency::{Idempotent, NotIdempotent};
        use RetryMode::{Interactive, Waiting};
        for (mode, reached, idempotency, delivery, expected) in [
            (Interactive, false, Idempotent, NotConnected, 1),
            (Interactive, true, Idempotent, NotConnected, 3),
            (Waiting, false, Idempotent, NotConnected, 3),
            (Waiting, false, Idempotent, UnknownHost, 1),
            (Waiting, true, Idempotent, UnknownHost, 3),
            (Interactive, true, NotIdempotent, Uncertain, 1),
            (Interactive, true, NotIdempotent, Rejected, 3),
            (Interactive, true, Idempotent, Uncertain, 3),
        ] {
            let actual = attempts(mode, reached, idempotency, delivery);
            assert_eq!(actual, expected, "{mode:?} {reached} {idempotency:?} {delivery:?}");
        }
    }
}
