//! From a claim to a sandbox that runs its job.

use std::cell::Cell;
use std::time::Duration;

use slog::{Logger, info, warn};
use tokio::time::Instant;

use crate::execution::{Claimed, ExecutionRecord, FailureKind};
use crate::failpoint;
use crate::metrics::METRICS;
use crate::sandbox::{DockerError, Profile, Sandbox, SandboxError};
use crate::settings::RuntimeEntry;
use crate::store::StoreError;
use crate::worker::active_claims::ClaimHandle;
use crate::worker::attempt::Ending;
use crate::worker::attempt::finish;
use crate::worker::attempt::job::{self, CA_BUNDLE_FILE};
use crate::worker::attempt::output_buffer::OutputBuffer;
use crate::worker::attempt::slot_sandboxes::SlotSandboxes;
use crate::worker::{Signal, Worker};

/// How long a claim waits for a Docker that does not answer before another worker may have it.
const DOCKER_PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);
/// Sandboxes that may break before their job has started until something is wrong with the job.
const SANDBOXES_AT_MOST: u32 = 3;

pub(crate) enum HandOver {
    /// The script runs.
    Done(Box<Sandbox>, Profile),
    /// Somebody removed what was installed for it.
    EnvironmentMissing,
}

/// Nothing of the script has run while this fails, so every way out is safe: end, release, try again. (An order may
/// come between the start and its answer; then it may have begun.)
/// `environment` is the volume with what it requires.
pub(crate) async fn hand_over(
    worker: &Worker,
    claimed: &Claimed,
    runtime: &RuntimeEntry,
    environment: Option<String>,
    held: &mut ClaimHandle,
    stock: &mut SlotSandboxes,
    log: &Logger,
) -> Result<HandOver, Ending> {
    let mut tries = StartAttempts::default();
    loop {
        let told_to_start = Cell::new(false);
        let tried = tokio::select! {
            tried = attempt(worker, claimed, runtime, environment.clone(), stock, &told_to_start) => tried,
            ending = ordered(held) => return Err(match ending {
                Ending::Released { .. } => Ending::Released { begun: told_to_start.get() },
                other => other,
            }),
        };
        match tried {
            Ok((sandbox, profile)) => return Ok(HandOver::Done(Box::new(sandbox), profile)),
            Err(Failure::EnvironmentMissing(volume)) => match forget(worker, &volume).await {
                Ok(()) => {
                    info!(log, "its environment was removed, and is made anew"; "environment" => volume);
                    return Ok(HandOver::EnvironmentMissing);
                }
                Err(failure) => tries.count(failure, log)?,
            },
            Err(failure) => tries.count(failure, log)?,
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            ending = ordered(held) => return Err(ending),
        }
    }
}

async fn forget(worker: &Worker, volume: &str) -> Result<(), Failure> {
    let engine = worker.docker.engine_id().await?;
    Ok(worker.store.forget_environment(&engine, volume).await?)
}

/// What has failed in a row.
#[derive(Default)]
pub(crate) struct StartAttempts {
    since: Option<Instant>,
    broken: u32,
}

impl StartAttempts {
    /// Ends the attempt when trying again is of no use.
    pub fn count(&mut self, failure: Failure, log: &Logger) -> Result<(), Ending> {
        METRICS.retries.add(&["hand_over"], 1);
        warn!(log, "the job could not be handed over"; "error" => %failure);
        let since = *self.since.get_or_insert_with(Instant::now);
        match failure {
            Failure::Final(conclusion) => Err(Ending::Concluded(conclusion, None, 0, None)),
            Failure::Sandbox(reason) => {
                self.broken += 1;
                if self.broken < SANDBOXES_AT_MOST {
                    return Ok(());
                }
                let words = format!("the sandbox broke before the script could start: {reason}");
                Err(concluded(ExecutionRecord::failed(FailureKind::Internal, words)))
            }
            Failure::EnvironmentMissing(_) | Failure::Passing(_) if since.elapsed() > DOCKER_PATIENCE => {
                Err(Ending::Released { begun: false })
            }
            Failure::EnvironmentMissing(_) | Failure::Passing(_) => Ok(()),
        }
    }

    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The same again would end the same.
    #[error("{}", .0.outcome.error().unwrap_or_default())]
    Final(Box<ExecutionRecord>),
    /// Docker or the database are away.
    #[error("{0}")]
    Passing(String),
    #[error("the environment {0} is gone")]
    EnvironmentMissing(String),
    /// This one sandbox is of no use.
    #[error("{0}")]
    Sandbox(String),
}

async fn attempt(
    worker: &Worker,
    claimed: &Claimed,
    runtime: &RuntimeEntry,
    environment: Option<String>,
    stock: &mut SlotSandboxes,
    told_to_start: &Cell<bool>,
) -> Result<(Sandbox, Profile), Failure> {
    let image = worker.docker.image(&runtime.image, runtime.pull).await?;
    let installed = environment.is_some();
    let profile = job::profile(claimed, image, environment);
    let mut sandbox = stock.sandbox(worker, claimed.owner.as_ref(), &profile).await?;
    sandbox.upload(&claimed.script_name, &claimed.script).await?;
    put_inputs(worker, claimed, &mut sandbox).await?;
    put_certificates(worker, &mut sandbox).await?;
    failpoint::hit("hand_over.filled").await;
    let longest = job::outer_deadline(claimed, &worker.settings);
    told_to_start.set(true);
    let started = sandbox.run(job::job(claimed, runtime, &worker.settings, installed));
    // It may have begun, so it is not tried again.
    let late = |_| Failure::Final(Box::new(finish::overdue(claimed, &OutputBuffer::new())));
    tokio::time::timeout(longest, started).await.map_err(late)??;
    failpoint::hit("hand_over.started").await;
    Ok((sandbox, profile))
}

async fn put_inputs(worker: &Worker, claimed: &Claimed, sandbox: &mut Sandbox) -> Result<(), Failure> {
    if !claimed.has_inputs {
        return Ok(());
    }
    let execution = &claimed.claim.execution;
    for name in worker.store.input_names(execution).await? {
        let file = worker.store.input(execution, &name).await?;
        sandbox.upload(&file.name, &file.content).await?;
    }
    Ok(())
}

async fn put_certificates(worker: &Worker, sandbox: &mut Sandbox) -> Result<(), Failure> {
    let bundle = &worker.settings.install.ca_bundle;
    if !bundle.as_os_str().is_empty() {
        let content = tokio::fs::read(bundle).await.map_err(|error| {
            let words = format!("install.ca_bundle {} can't be read: {error}", bundle.display());
            Failure::Final(Box::new(ExecutionRecord::failed(FailureKind::Install, words)))
        })?;
        sandbox.upload(CA_BUNDLE_FILE, &content).await?;
    }
    Ok(())
}

/// Returns only when the run is not to go on.
pub(crate) async fn ordered(held: &mut ClaimHandle) -> Ending {
    loop {
        match *held.signals.borrow_and_update() {
            Signal::Continue => {}
            Signal::Cancel => return concluded(finish::cancelled()),
            Signal::Release => return Ending::Released { begun: false },
            Signal::Lost => return Ending::ClaimLost,
        }
        if held.signals.changed().await.is_err() {
            return Ending::Released { begun: false };
        }
    }
}

pub(crate) fn concluded(conclusion: ExecutionRecord) -> Ending {
    Ending::Concluded(Box::new(conclusion), None, 0, None)
}

pub(crate) fn unknown_runtime(claimed: &Claimed, worker: &Worker) -> Ending {
    let words = format!(
        "worker {} has no runtime {}: its settings lack [runtimes.\"{}\"]",
        worker.name(),
        claimed.runtime,
        claimed.runtime
    );
    concluded(ExecutionRecord::failed(FailureKind::Image, words))
}

impl From<DockerError> for Failure {
    fn from(error: DockerError) -> Self {
        match &error {
            DockerError::ImageMissing { .. } => {
                Failure::Final(Box::new(ExecutionRecord::failed(FailureKind::Image, error.to_string())))
            }
            DockerError::EnvironmentMissing(volume) => Failure::EnvironmentMissing(volume.clone()),
            _ => Failure::Passing(error.to_string()),
        }
    }
}

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::Refused(reason) => {
                let words = format!("{reason}; ask for more with --memory, half of it is for files");
                Failure::Final(Box::new(ExecutionRecord::failed(FailureKind::OutOfMemory, words)))
            }
            other => Failure::Sandbox(other.to_string()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Passing(error.to_string())
    }
}
