//! Errors of Docker and of sandboxes; each variant is a case that callers handle differently.

use std::time::Duration;

use bollard::errors::Error as BollardError;
use thiserror::Error;

/// Deadline of one call. Creating a container on a busy machine takes seconds; a call that takes longer hangs.
pub(crate) const CALL_TIMEOUT_SECONDS: u64 = 60;

#[derive(Debug, Error)]
pub enum DockerError {
    /// Docker cannot be reached or does not answer in time; a retry may succeed.
    #[error(
        "cannot reach Docker at {address}: {reason}; start it (`systemctl start docker` or `make setup`), or set \
         another address with docker.host or DOCKER_HOST"
    )]
    Unreachable { address: String, reason: String },
    /// Permanent until someone provides the image.
    #[error(
        "the image {image} is missing and cannot be pulled: {reason}; run `docker pull {image}` or `make images`"
    )]
    ImageMissing { image: String, reason: String },
    /// The volume was removed; its requirements must be installed again.
    #[error("the environment volume {0} no longer exists")]
    EnvironmentMissing(String),
    #[error("sandbox.runtime: Docker has no runtime {wanted:?}, only {known}; add it to daemon.json")]
    UnknownRuntime { wanted: String, known: String },
    /// Docker answered with an error.
    #[error("Docker failed to {action}: {reason}")]
    Refused { action: &'static str, reason: String },
    /// The container was started, but the handshake with its init failed.
    #[error("the handshake with the sandbox's init failed: {0}")]
    NoHandshake(String),
}

#[derive(Debug, Error)]
pub enum SandboxError {
    /// The container ended without an exit event from its init.
    #[error("the container is gone{}", .exit_code.map(|code| format!(" (exit code {code})")).unwrap_or_default())]
    Gone { exit_code: Option<i64>, oom_killed: bool },
    /// The Docker engine was unreachable for longer than a lease, or was restarted, which ended the container.
    #[error("the Docker engine was lost: {0}")]
    EngineLost(String),
    /// The init rejected a command, for example a file that does not fit into the workspace.
    #[error("{0}")]
    Refused(String),
    /// A script may control the init, so the sandbox must be removed.
    #[error(transparent)]
    Violation(#[from] rgrid_init::Violation),
    /// The connection broke and could not be restored.
    #[error("the connection to the sandbox broke: {0}")]
    Disconnected(String),
}

impl DockerError {
    /// Whether a retry may succeed.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::ImageMissing { .. } | Self::EnvironmentMissing(_) | Self::UnknownRuntime { .. })
    }
}

/// Applies the deadline to a call. bollard's own deadline ends with the response head, but a Docker that hangs may do
/// so in the middle of a body.
pub(crate) async fn with_timeout<T>(
    call: impl Future<Output = Result<T, BollardError>>,
) -> Result<T, BollardError> {
    let limit = Duration::from_secs(CALL_TIMEOUT_SECONDS);
    tokio::time::timeout(limit, call).await.unwrap_or(Err(BollardError::RequestTimeoutError))
}

/// 404: the object does not exist.
pub(crate) fn is_missing(error: &BollardError) -> bool {
    matches!(error, BollardError::DockerResponseServerError { status_code: 404, .. })
}

/// 409: the object already exists, is in use or is being removed.
pub(crate) fn is_conflict(error: &BollardError) -> bool {
    matches!(error, BollardError::DockerResponseServerError { status_code: 409, .. })
}
