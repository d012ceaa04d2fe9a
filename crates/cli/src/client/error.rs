//! What can go wrong between a question and its answer, and whether it may pass.

use std::io::ErrorKind;
use std::time::Duration;

use rgrid_api::problem::PROBLEM_JSON;
use serde_json::Value;
use ureq::{Error, http::StatusCode};

use crate::client::DOCUMENT_MAX;
use crate::client::problem;
use crate::client::target::{Source, Target};
use crate::client::transport::Answer;
use crate::error::Failure;
use crate::exit_code::Exit;

pub(crate) enum Trouble {
    /// May be over in a moment.
    Passing(Passing),
    Final(Failure),
}

pub(crate) struct Passing {
    /// What is told when it did not pass.
    pub failure: Failure,
    pub taken: Taken,
    pub retry_after: Option<Duration>,
}

/// Whether the server can have acted on the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// There is no host of that name.
    Nowhere,
    /// There was no connection.
    NotSent,
    /// It said no.
    Refused,
    Perhaps,
}

impl From<Error> for Trouble {
    /// While an answer's body was read.
    fn from(error: Error) -> Self {
        let failure =
            Failure::new(Exit::Unreachable, format!("the server's answer broke off: {}", words(&error)));
        Trouble::Passing(Passing { failure, taken: Taken::Perhaps, retry_after: None })
    }
}

pub(crate) fn of_transport(error: Error, target: &Target) -> Trouble {
    let url = &target.url;
    let last = |what: String| Trouble::Final(Failure::new(Exit::Unreachable, what).hint(check(target)));
    let taken = match &error {
        Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) => {
            return no_tls(target, &words(&error));
        }
        // How a certificate that is not trusted, or an answer that is no TLS, comes through.
        Error::Io(io) if io.kind() == ErrorKind::InvalidData => {
            return no_tls(target, &io.to_string());
        }
        Error::Protocol(_) | Error::LargeResponseHeader(..) => {
            return last(format!("what answers at {url} does not speak HTTP: {}", words(&error)));
        }
        Error::HostNotFound => Taken::Nowhere,
        Error::Io(io) if is_unknown_name(io) => Taken::Nowhere,
        Error::Io(io) if not_connected(io.kind()) => Taken::NotSent,
        Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => Taken::NotSent,
        Error::ConnectionFailed | Error::ConnectProxyFailed(_) => Taken::NotSent,
        Error::Io(_) | Error::Timeout(_) | Error::BodyStalled => Taken::Perhaps,
        _ => return last(format!("{url} can't be asked: {}", words(&error))),
    };
    let what = match taken {
        Taken::Nowhere | Taken::NotSent => format!("no server answers at {url}: {}", words(&error)),
        Taken::Refused | Taken::Perhaps => format!("the connection to {url} broke: {}", words(&error)),
    };
    let hint = match taken {
        Taken::Refused | Taken::Perhaps => "`rgrid doctor` tells whether the server is fine".to_owned(),
        _ if target.is_loopback() => start(target),
        _ => check(target),
    };
    let failure = Failure::new(Exit::Unreachable, what).hint(hint);
    Trouble::Passing(Passing { failure, taken, retry_after: None })
}

fn no_tls(target: &Target, why: &str) -> Trouble {
    let what = format!("no safe connection to {}: {why}", target.url);
    // What a server without TLS says is none of TLS's messages.
    let hint = if why.contains("InvalidContentType") {
        let plain = target.url.replacen("https://", "http://", 1);
        format!("what answers there speaks no TLS; if that is as it should be, name it {plain}")
    } else {
        "certificates are checked against the system's; SSL_CERT_FILE names others".to_owned()
    };
    Trouble::Final(Failure::new(Exit::Unreachable, what).hint(hint))
}

fn not_connected(kind: ErrorKind) -> bool {
    use ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable};
    matches!(kind, AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkDown | NetworkUnreachable)
}

/// The standard library has no kind for it.
fn is_unknown_name(error: &std::io::Error) -> bool {
    error.to_string().starts_with("failed to lookup address information")
}

/// Without the library's own prefix and the system's number.
fn words(error: &Error) -> String {
    match error {
        Error::Io(io) => match io.kind() {
            ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "it was closed at the other end".to_owned(),
            ErrorKind::UnexpectedEof => "it was closed before there was an answer".to_owned(),
            _ if is_unknown_name(io) => "no host of that name is known".to_owned(),
            _ => io.to_string(),
        },
        Error::Timeout(_) => "it takes too long".to_owned(),
        Error::HostNotFound => "no host of that name is known".to_owned(),
        other => other.to_string(),
    }
}

fn start(target: &Target) -> String {
    let start = "start one with `make up` or `rgridd`";
    match &target.url_from {
        Source::Default => format!("{start}, or name another with --api-url"),
        source => format!("{start}, or check the address (from {source})"),
    }
}

pub(crate) fn check(target: &Target) -> String {
    match &target.url_from {
        Source::Default => "name the server with --api-url, or keep it with `rgrid init`".to_owned(),
        source => format!("check the address (from {source})"),
    }
}

/// The answer, unless it is an error.
pub(crate) fn refused(answer: Answer, target: &Target) -> Result<Answer, Trouble> {
    let (status, retry_after) = (answer.status, answer.retry_after);
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    if !answer.is(PROBLEM_JSON) {
        return Err(without_words(&answer, target));
    }
    let failure = match serde_json::from_value(json(answer, target)?) {
        Ok(problem) => problem::failure(problem, target),
        Err(error) => Failure::failed(format!("the answer of {} can't be understood: {error}", target.url)),
    };
    Err(match status {
        429 | 503 => Trouble::Passing(Passing { failure, taken: Taken::Refused, retry_after }),
        _ => Trouble::Final(failure),
    })
}

/// An error that RGrid did not write: a proxy's, or something else's that listens there.
fn without_words(answer: &Answer, target: &Target) -> Trouble {
    if !matches!(answer.status, 502..=504) {
        return foreign(answer, target);
    }
    let reason = StatusCode::from_u16(answer.status).ok().and_then(|status| status.canonical_reason());
    let what = format!("a proxy before {} answers: {}", target.url, reason.unwrap_or("the server is away"));
    let failure = Failure::new(Exit::Unreachable, what).hint(check(target));
    Trouble::Passing(Passing { failure, taken: Taken::Perhaps, retry_after: answer.retry_after })
}

/// Something answered, and it is no RGrid.
pub(crate) fn foreign(answer: &Answer, target: &Target) -> Trouble {
    let kind = if answer.media_type.is_empty() { "nothing that is named" } else { &answer.media_type };
    let what = format!("what answers at {} is no RGrid server (it sent {kind})", target.url);
    Trouble::Final(Failure::new(Exit::Unreachable, what).hint(check(target)))
}

pub(crate) fn json(answer: Answer, target: &Target) -> Result<Value, Trouble> {
    let body = answer.read(DOCUMENT_MAX)?;
    serde_json::from_slice(&body).map_err(|error| {
        let what = format!("the answer of {} is no JSON: {error}", target.url);
        Trouble::Final(Failure::failed(what).hint(check(target)))
    })
}
