//! What can go wrong with Docker and with a sandbox, sorted by what a caller does about it.

use std::time::Duration;

use bollard::errors::Error as BollardError;
use thiserror::Error;

/// For one call. Making a container on a busy machine takes seconds; a Docker that needs longer hangs.
pub(crate) const CALL_TIMEOUT_SECONDS: u64 = 60;

#[derive(Debug, Error)]
pub enum DockerError {
    /// Docker is away or does not answer in time; it may come back.
    #[error(
        "no Docker answers at {address} ({reason}): start it (`systemctl start docker`, or `make setup`), \
         or name another with docker.host or DOCKER_HOST"
    )]
    Unreachable { address: String, reason: String },
    /// Final until somebody brings the image.
    #[error(
        "the image {image} is not here and cannot be pulled ({reason}): run `docker pull {image}` or `make images`"
    )]
    ImageMissing { image: String, reason: String },
    /// Somebody removed the volume; what was in it has to be installed again.
    #[error("the environment {0} is not there any more")]
    EnvironmentMissing(String),
    #[error(
        "sandbox.runtime: Docker knows no runtime {wanted:?}; it has {known} (others are added in daemon.json)"
    )]
    NoRuntime { wanted: String, known: String },
    /// Docker refused what it was asked.
    #[error("Docker refused to {what}: {reason}")]
    Refused { what: &'static str, reason: String },
    /// The container started, but its init did not say hello.
    #[error("the sandbox's init did not answer: {0}")]
    NoHandshake(String),
}

#[derive(Debug, Error)]
pub enum SandboxError {
    /// The container has ended without a word of its init.
    #[error("the container is gone{}", .exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default())]
    Gone { exit_code: Option<i64>, oom_killed: bool },
    /// The init would not take what it was given, such as a file for which there is no room.
    #[error("{0}")]
    Refused(String),
    /// The conversation broke and could not be mended.
    #[error("the connection to the sandbox broke: {0}")]
    Disconnected(String),
}

impl DockerError {
    /// Whether the same may work later.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::ImageMissing { .. } | Self::EnvironmentMissing(_) | Self::NoRuntime { .. })
    }

    pub(crate) fn from_bollard(what: &'static str, address: &str, error: BollardError) -> Self {
        match error {
            BollardError::DockerResponseServerError { message, .. } => {
                DockerError::Refused { what, reason: message }
            }
            other => DockerError::Unreachable { address: address.to_owned(), reason: other.to_string() },
        }
    }
}

/// The deadline of every call. bollard's own ends with the head of an answer, and a Docker that hangs may do so in
/// the middle of one.
pub(crate) async fn answered<T>(
    call: impl Future<Output = Result<T, BollardError>>,
) -> Result<T, BollardError> {
    let limit = Duration::from_secs(CALL_TIMEOUT_SECONDS);
    tokio::time::timeout(limit, call).await.unwrap_or(Err(BollardError::RequestTimeoutError))
}

/// 404: what was asked for is not there.
pub(crate) fn is_missing(error: &BollardError) -> bool {
    matches!(error, BollardError::DockerResponseServerError { status_code: 404, .. })
}

/// 409: it is there already, or is just going away.
pub(crate) fn is_conflict(error: &BollardError) -> bool {
    matches!(error, BollardError::DockerResponseServerError { status_code: 409, .. })
}
