//! Uploads the inputs into a sandbox and starts the script, with retries until the start command is sent.

use std::io;
use std::time::Duration;

use slog::{Logger, info, warn};
use tokio::time::Instant;

use crate::execution::{FailureKind, ReleaseReason};
use crate::failpoint;
use crate::metrics::METRICS;
use crate::sandbox::{DockerError, NetworkMode, Sandbox, SandboxError};
use crate::settings::RuntimeEntry;
use crate::store::StoreError;
use crate::worker::attempt::job::{self, CA_BUNDLE_FILE};
use crate::worker::attempt::{Attempt, AttemptResult};
use crate::worker::{attempt::finish, attempt::output_buffer::OutputBuffer};

/// How long a claim waits for Docker or the database before it is released for another worker.
const UNAVAILABLE_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// After this many sandboxes broke before the script started, the job itself is probably the cause.
const MAX_BROKEN_SANDBOXES: u32 = 3;

/// Why a step before the script's start failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// Another try would end in the same way.
    #[error("{}", match .0 {
        AttemptResult::Finished(record) => record.outcome.error().unwrap_or_default(),
        AttemptResult::Released(_) | AttemptResult::ClaimLost => "the attempt was released, or its claim was lost",
    })]
    Ended(AttemptResult),
    /// Docker or the database is unavailable.
    #[error("{0}")]
    Unavailable(String),
    #[error("the environment {0} is gone")]
    EnvironmentMissing(String),
    #[error("{0}")]
    SandboxBroke(String),
}

/// Decides how long a start is retried.
#[derive(Default)]
pub(super) struct StartAttempts {
    first_failure: Option<Instant>,
    broken_sandboxes: u32,
}

impl StartAttempts {
    /// Ok means that another try is worthwhile.
    pub fn failed(&mut self, error: StartError, log: &Logger) -> Result<(), AttemptResult> {
        if !matches!(error, StartError::Ended(_)) {
            METRICS.retries.add(&["hand_over"], 1);
            warn!(log, "starting the script failed"; "error" => %error);
        }
        let since = *self.first_failure.get_or_insert_with(Instant::now);
        match error {
            StartError::Ended(result) => Err(result),
            StartError::SandboxBroke(reason) => {
                self.broken_sandboxes += 1;
                if self.broken_sandboxes < MAX_BROKEN_SANDBOXES {
                    return Ok(());
                }
                let error = format!("the sandbox broke before the script could start: {reason}");
                Err(AttemptResult::failed(FailureKind::Internal, error))
            }
            StartError::EnvironmentMissing(_) | StartError::Unavailable(_) => {
                let in_time = since.elapsed() <= UNAVAILABLE_TIMEOUT;
                in_time.then_some(()).ok_or(AttemptResult::Released(ReleaseReason::NotStarted))
            }
        }
    }
}

impl Attempt {
    /// `environment` is the volume with the requirements. Returns `None` if that volume has been removed.
    pub(super) async fn start_job(
        &mut self,
        environment: Option<String>,
    ) -> Result<Option<Sandbox>, AttemptResult> {
        let mut attempts = StartAttempts::default();
        loop {
            self.start_sent = false;
            let volume = environment.clone();
            let started = self.unless_signalled(async |attempt| attempt.start_once(volume).await).await;
            let error = match started {
                Ok(sandbox) => return Ok(Some(sandbox)),
                Err(StartError::Ended(AttemptResult::Released(ReleaseReason::NotStarted)))
                    if self.start_sent =>
                {
                    return Err(AttemptResult::Released(ReleaseReason::Drained));
                }
                Err(StartError::Ended(ended)) => return Err(ended),
                Err(StartError::EnvironmentMissing(volume)) => match self.forget_environment(&volume).await {
                    Ok(()) => {
                        info!(self.log, "its environment was removed; preparing it again"; "environment" => volume);
                        return Ok(None);
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            attempts.failed(error, &self.log)?;
            self.pause(RETRY_PAUSE).await?;
        }
    }

    pub(super) fn runtime(&self) -> Result<RuntimeEntry, StartError> {
        let (worker, runtime) = (&self.worker, &self.claimed.runtime);
        worker.runtimes.get(runtime).cloned().ok_or_else(|| {
            let error = format!(
                "worker {} has no runtime {runtime}: its settings lack [runtimes.\"{runtime}\"]",
                worker.name()
            );
            StartError::ended(FailureKind::Image, error)
        })
    }

    async fn forget_environment(&self, volume: &str) -> Result<(), StartError> {
        let engine = self.worker.docker.engine_id().await?;
        Ok(self.worker.store.forget_environment(&engine, volume).await?)
    }

    async fn start_once(&mut self, environment: Option<String>) -> Result<Sandbox, StartError> {
        let runtime = self.runtime()?;
        let image = self.worker.docker.image(&runtime.image, runtime.pull).await?;
        let job = job::job(&self.claimed, &runtime, &self.worker.settings, environment.is_some());
        let profile = job::profile(&self.claimed, image, environment);
        self.require_network(profile.network)?;
        let owner = self.claimed.owner.as_ref();
        let mut sandbox = self.sandboxes.take(&self.worker, owner, &profile).await?;
        sandbox.upload(&self.claimed.script_name, &self.claimed.script).await?;
        self.upload_inputs(&mut sandbox).await?;
        self.upload_certificates(&mut sandbox).await?;
        failpoint::hit("hand_over.filled").await;
        self.require_network(profile.network)?;
        self.worker.note_start(&self.claimed.claim, sandbox.container())?;
        self.start_sent = true;
        failpoint::hit("hand_over.noted").await;
        let timeout = job::outer_deadline(&self.claimed, &self.worker.settings);
        match tokio::time::timeout(timeout, sandbox.run(job)).await {
            Ok(Err(SandboxError::EngineLost(reason))) => {
                warn!(self.log, "the sandbox's engine is gone"; "reason" => reason);
                return Err(StartError::Ended(AttemptResult::Released(ReleaseReason::EngineLost)));
            }
            Ok(started) => started?,
            // The script may have started, so there is no second try.
            Err(_) => {
                let record = finish::overdue(&self.claimed, &OutputBuffer::default());
                return Err(StartError::Ended(AttemptResult::Finished(Box::new(record))));
            }
        }
        failpoint::hit("hand_over.started").await;
        self.profile = Some(profile);
        Ok(sandbox)
    }

    /// Call it before a sandbox is taken, because each retry would need another one, and right before a script starts.
    pub(super) fn require_network(&self, network: NetworkMode) -> Result<(), StartError> {
        match self.worker.network_blocked() {
            Some(reason) if network != NetworkMode::None => {
                Err(StartError::Unavailable(format!("cannot verify the firewall: {reason}")))
            }
            _ => Ok(()),
        }
    }

    async fn upload_inputs(&self, sandbox: &mut Sandbox) -> Result<(), StartError> {
        if !self.claimed.has_inputs {
            return Ok(());
        }
        let (store, execution) = (&self.worker.store, &self.claimed.claim.execution);
        for name in store.input_names(execution).await? {
            let file = store.input(execution, &name).await?;
            sandbox.upload(&file.name, &file.content).await?;
        }
        Ok(())
    }

    async fn upload_certificates(&self, sandbox: &mut Sandbox) -> Result<(), StartError> {
        let bundle = &self.worker.settings.install.ca_bundle;
        if !bundle.as_os_str().is_empty() {
            let content = tokio::fs::read(bundle).await.map_err(|error| {
                let error = format!("install.ca_bundle {} cannot be read: {error}", bundle.display());
                StartError::ended(FailureKind::Install, error)
            })?;
            sandbox.upload(CA_BUNDLE_FILE, &content).await?;
        }
        Ok(())
    }
}

impl StartError {
    pub fn ended(kind: FailureKind, error: impl Into<String>) -> Self {
        Self::Ended(AttemptResult::failed(kind, error))
    }
}

impl From<DockerError> for StartError {
    fn from(error: DockerError) -> Self {
        match &error {
            DockerError::ImageMissing { .. } => Self::ended(FailureKind::Image, error.to_string()),
            DockerError::EnvironmentMissing(volume) => Self::EnvironmentMissing(volume.clone()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<SandboxError> for StartError {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::Refused(reason) => {
                let advice = "ask for more with --memory, half of it is for files";
                Self::ended(FailureKind::OutOfMemory, format!("{reason}; {advice}"))
            }
            SandboxError::EngineLost(reason) => Self::Unavailable(reason),
            other => Self::SandboxBroke(other.to_string()),
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(format!("writing to the data directory failed: {error}"))
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> StartError {
        StartError::SandboxBroke("no handshake".to_owned())
    }

    fn unavailable() -> StartError {
        StartError::Unavailable("no route to host".to_owned())
    }

    fn gone() -> StartError {
        StartError::EnvironmentMissing("volume".to_owned())
    }

    /// Each row: failures with the seconds before them, and what follows the last one.
    #[tokio::test(start_paused = true)]
    async fn a_start_is_retried_until_it_cannot_succeed_here() {
        type Failure = (u64, fn() -> StartError);
        let rows: [(&[Failure], &str); 9] = [
            (&[(0, broken)], "retry"),
            (&[(0, broken), (1, broken)], "retry"),
            (&[(0, broken), (1, broken), (1, broken)], "internal"),
            (&[(0, broken), (1, unavailable), (1, broken), (1, broken)], "internal"),
            (&[(0, unavailable), (30, unavailable)], "retry"),
            (&[(0, unavailable), (31, unavailable)], "released"),
            (&[(0, gone), (31, gone)], "released"),
            (&[(0, || StartError::ended(FailureKind::Image, "no image"))], "image"),
            (&[(0, || StartError::Ended(AttemptResult::ClaimLost))], "lost"),
        ];
        let log = Logger::root(slog::Discard, slog::o!());
        for (failures, expected) in rows {
            let mut attempts = StartAttempts::default();
            let mut last = Ok(());
            for (after_secs, failure) in failures {
                assert!(last.is_ok(), "{expected}: ended before the last failure");
                tokio::time::advance(Duration::from_secs(*after_secs)).await;
                last = attempts.failed(failure(), &log);
            }
            let next = match last {
                Ok(()) => "retry".to_owned(),
                Err(AttemptResult::Released(ReleaseReason::NotStarted)) => "released".to_owned(),
                Err(AttemptResult::Finished(record)) => {
                    record.outcome.failure_kind().unwrap().as_str().to_owned()
                }
                Err(AttemptResult::ClaimLost) => "lost".to_owned(),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(next, expected, "after {} failures", failures.len());
        }
    }
}
