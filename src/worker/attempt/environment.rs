//! Finds or builds the environment with the requirements of a claim, or waits for another execution's build.
//!
//! The script has not started before this is done. The row is marked `installing` meanwhile, so that losing the worker
//! costs no attempt. A builder that outlives its worker is adopted like any other sandbox.

use std::time::Duration;

use slog::{info, warn};
use tokio::time::Instant;

use crate::execution::exit_mapping::{install_too_large, map_install_exit};
use crate::execution::{FailureKind, Outcome, ReleaseReason, Requirements};
use crate::sandbox::{EnvironmentBuild, NetworkMode, Profile, Sandbox, SandboxError};
use crate::store::EnvironmentKey;
use crate::worker::attempt::dispatch::{StartAttempts, StartError};
use crate::worker::attempt::environment_spec::{self, EnvironmentSpec, SIZE_FILE};
use crate::worker::attempt::monitor::{Exit, Limit};
use crate::worker::attempt::{Attempt, AttemptResult};
use crate::worker::{attempt::finish, attempt::output_buffer::Source, recorder::Append};

const POLL_EVERY: Duration = Duration::from_millis(250);
const WAITING_NOTE: &str = "Another run is installing the same requirements; this one waits for it.\n";
/// Beyond the install's own time limit, for finalizing it and for an init that does not enforce the limit.
const EXTRA_TIME: Duration = Duration::from_secs(180);
/// The first check of an install's disk usage. The pause before the next one depends on how long Docker takes.
const FIRST_SIZE_CHECK: Duration = Duration::from_secs(3);
const SIZE_CHECK_PAUSE_FACTOR: u32 = 20;
/// For a number, in bytes.
const MAX_SIZE_FILE: u64 = 32;
const DATABASE_TIMEOUT: Duration = Duration::from_secs(30);
const DATABASE_RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The progress of preparing an attempt's environment.
#[derive(Default)]
pub(super) struct EnvironmentSetup {
    /// When the attempt began to wait for another execution's install.
    waiting_since: Option<Instant>,
    /// The row is marked `installing`.
    marked_installing: bool,
    /// It was not ready, so the time for it is worth recording.
    took_time: bool,
}

enum Lookup {
    Ready(String),
    Build(Box<Sandbox>, EnvironmentSpec),
    Wait,
}

impl Attempt {
    /// Returns the volume with the requirements, or `None` for an execution without any.
    pub(super) async fn prepare_environment(&mut self) -> Result<Option<String>, AttemptResult> {
        let requirements = match self.claimed.requirements.as_deref().map(Requirements::parse) {
            None | Some(Ok(None)) => return Ok(None),
            Some(Ok(Some(requirements))) => requirements,
            Some(Err(mistakes)) => {
                return Err(AttemptResult::failed(FailureKind::Install, mistakes.join("; ")));
            }
        };
        let started = Instant::now();
        let prepared = self.find_or_build(&requirements).await;
        self.count_setup_time(started);
        prepared.map(Some)
    }

    fn count_setup_time(&mut self, started: Instant) {
        if self.setup.took_time {
            let before = self.phases.environment.unwrap_or_default();
            self.phases.environment = Some(before + started.elapsed());
        }
    }

    async fn find_or_build(&mut self, requirements: &Requirements) -> Result<String, AttemptResult> {
        let mut attempts = StartAttempts::default();
        loop {
            let found = self.unless_signalled(async |attempt| attempt.look_up(requirements).await).await;
            let volume = match found {
                Ok(Lookup::Ready(volume)) => Ok(Some(volume)),
                Ok(Lookup::Wait) => Ok(None),
                Ok(Lookup::Build(sandbox, spec)) => self.build(*sandbox, spec).await.map(Some),
                Err(error) => Err(error),
            };
            match volume {
                Ok(Some(volume)) => {
                    self.unmark_installing().await?;
                    return Ok(volume);
                }
                Ok(None) => attempts = StartAttempts::default(),
                Err(error) => attempts.failed(error, &self.log)?,
            }
            self.pause(POLL_EVERY).await?;
        }
    }

    async fn look_up(&mut self, requirements: &Requirements) -> Result<Lookup, StartError> {
        let (runtime, worker) = (self.runtime()?, self.worker.clone());
        let (docker, settings) = (&worker.docker, &worker.settings);
        let image = docker.image(&runtime.image, runtime.pull).await?;
        let spec = EnvironmentSpec::new(image, requirements.clone(), settings).await.map_err(unreadable)?;
        let key = EnvironmentKey { engine: docker.engine_id().await?, key: spec.key(settings) };
        if let Some(volume) = worker.store.use_environment(&key).await? {
            return Ok(Lookup::Ready(volume));
        }
        self.setup.took_time = true;
        if !self.setup.marked_installing {
            self.setup.marked_installing = worker.store.set_installing(&self.claimed.claim, true).await?;
        }
        if let Some(since) = self.setup.waiting_since
            && let Some(record) = worker.failed_installs.since(&key.key, since)
        {
            // The same install would fail again.
            return Err(StartError::Ended(AttemptResult::Finished(Box::new(record))));
        }
        if !docker.is_building(&key.key).await?
            && let Some(sandbox) = self.create_builder(&spec, &key.key).await?
        {
            return Ok(Lookup::Build(Box::new(sandbox), spec));
        }
        self.note_waiting().await;
        Ok(Lookup::Wait)
    }

    /// `None`: another execution was faster. Runs in a task of its own, because a builder that is abandoned while
    /// Docker creates it would block all executions with the same requirements.
    async fn create_builder(&self, spec: &EnvironmentSpec, key: &str) -> Result<Option<Sandbox>, StartError> {
        self.require_network(NetworkMode::Internet)?;
        let settings = &self.worker.settings;
        // Not the script's profile: an install has a memory limit of its own and needs the network.
        let profile = Profile {
            image: spec.image.clone(),
            memory_bytes: environment_spec::limits(settings).memory,
            cpus_milli: (settings.sandbox.cpus * 1000.0) as u32,
            network: NetworkMode::Internet,
            environment: None,
        };
        let (docker, key) = (self.worker.docker.clone(), key.to_owned());
        let created = actix_rt::spawn(async move { docker.create_builder(&profile, &key).await }).await;
        Ok(created.map_err(|stopped| StartError::SandboxBroke(stopped.to_string()))??)
    }

    /// Shows followers why nothing happens.
    async fn note_waiting(&mut self) {
        if self.setup.waiting_since.is_some() {
            return;
        }
        self.setup.waiting_since = Some(Instant::now());
        info!(self.log, "waiting for another run's install");
        self.output.add_note(WAITING_NOTE);
        if let Some((chunks, _)) = self.output.take_unstored() {
            // A lost claim is signalled by the heartbeat, and the text stays in the buffer.
            self.worker.record(Append { claim: self.claimed.claim.clone(), chunks }).await;
        }
    }

    /// From here on, a lost worker may have run the script.
    async fn unmark_installing(&mut self) -> Result<(), AttemptResult> {
        let mut attempts = StartAttempts::default();
        while self.setup.marked_installing {
            match self.worker.store.set_installing(&self.claimed.claim, false).await {
                Ok(true) => self.setup.marked_installing = false,
                Ok(false) => return Err(AttemptResult::ClaimLost),
                Err(error) => {
                    attempts.failed(error.into(), &self.log)?;
                    self.pause(POLL_EVERY).await?;
                }
            }
        }
        Ok(())
    }

    async fn build(&mut self, mut sandbox: Sandbox, spec: EnvironmentSpec) -> Result<String, StartError> {
        let Some(build) = sandbox.builds().cloned() else {
            return Err(StartError::SandboxBroke("its container builds no environment".to_owned()));
        };
        info!(self.log, "installing requirements"; "environment" => &build.volume);
        let job = spec.job(&self.claimed.claim, &self.runtime()?, &self.worker.settings);
        let timeout = self.install_timeout();
        let sandbox = self
            .unless_signalled(async move |attempt| {
                let start = async {
                    for (name, content) in spec.files(&attempt.worker.settings).await.map_err(unreadable)? {
                        sandbox.upload(name, &content).await?;
                    }
                    attempt.require_network(NetworkMode::Internet)?;
                    Ok::<_, StartError>(sandbox.run(job).await?)
                };
                let late = |_| Err(StartError::SandboxBroke("the builder did not start in time".to_owned()));
                tokio::time::timeout(timeout, start).await.unwrap_or_else(late)?;
                Ok(sandbox)
            })
            .await?;
        self.follow_build(sandbox, &build).await.map_err(StartError::Ended)
    }

    /// Follows an install that an earlier daemon started. Its environment is found by key afterwards.
    pub(super) async fn resume_install(
        &mut self,
        sandbox: Sandbox,
        build: &EnvironmentBuild,
    ) -> Result<(), AttemptResult> {
        (self.setup.marked_installing, self.setup.took_time) = (true, true);
        let started = Instant::now();
        let built = self.follow_build(sandbox, build).await;
        self.count_setup_time(started);
        built.map(|_| ())
    }

    async fn follow_build(
        &mut self,
        sandbox: Sandbox,
        build: &EnvironmentBuild,
    ) -> Result<String, AttemptResult> {
        self.output.switch_to(Source::Install);
        let limit = self.disk_limit(build.volume.clone());
        let exit = self.monitor(sandbox, self.install_timeout(), Some(limit)).await?;
        let outcome = match exit {
            Exit::Reported(exit) => {
                self.output.finish_install(&exit, self.worker.settings.execution.output_limit.0);
                match self.keep_environment(&exit, build).await? {
                    None => {
                        info!(self.log, "installed"; "environment" => &build.volume, "took_ms" => exit.setup_ms);
                        return Ok(build.volume.clone());
                    }
                    Some(outcome) => outcome,
                }
            }
            Exit::SandboxLost(reason) => {
                warn!(self.log, "the builder is gone"; "reason" => %reason);
                match reason {
                    SandboxError::Gone { oom_killed: true, .. } => install_failed(
                        "the installation of the requirements exceeded its memory limit; the server's \
                         install.memory sets it",
                    ),
                    SandboxError::Violation(violation) => {
                        install_failed(&format!("{violation}; it was removed"))
                    }
                    // The script has not started, so the execution is not lost.
                    _ => return Err(AttemptResult::Released(ReleaseReason::NotStarted)),
                }
            }
            Exit::Overdue => install_failed("the install did not end in time and was killed"),
            Exit::LimitReached => install_too_large(&environment_spec::limits(&self.worker.settings)),
        };
        let record = finish::record_of(outcome, self.output.partial());
        if record.outcome.failure_kind() == Some(FailureKind::Install) {
            self.worker.failed_installs.add(&build.key, &record);
        }
        // Removed before the result is written, because the write may need the disk space that the install filled.
        self.sandbox = None;
        Err(AttemptResult::Finished(Box::new(record)))
    }

    fn install_timeout(&self) -> Duration {
        let settings = &self.worker.settings;
        settings.install.timeout.0 + 2 * settings.execution.grace.0 + EXTRA_TIME
    }

    /// Only an environment that is complete and within its limits is added to the database, and only then does its
    /// volume outlive the builder. Returns the outcome of an install that is not kept.
    async fn keep_environment(
        &mut self,
        exit: &rgrid_init::Exit,
        build: &EnvironmentBuild,
    ) -> Result<Option<Outcome>, AttemptResult> {
        let limits = environment_spec::limits(&self.worker.settings);
        if let Some(outcome) = map_install_exit(exit, &limits, &self.output.install().text) {
            return Ok(Some(outcome));
        }
        let not_started = || AttemptResult::Released(ReleaseReason::NotStarted);
        let mut sandbox = self.sandbox.take().ok_or_else(not_started)?;
        let size = match measured_size(&mut sandbox, exit).await {
            Ok(size) if size > limits.size => return Ok(Some(install_too_large(&limits))),
            Ok(size) => size,
            Err(SandboxError::EngineLost(_)) => return Err(not_started()),
            Err(reason) => {
                return Ok(Some(install_failed(&format!(
                    "the installed requirements cannot be kept: {reason}"
                ))));
            }
        };
        if let Err(reason) = self.add_environment(build, size).await {
            warn!(self.log, "adding an environment to the database failed"; "reason" => reason);
            return Err(not_started());
        }
        sandbox.keep_environment();
        self.make_room().await;
        sandbox.ack(self.exit_event).await;
        Ok(None)
    }

    /// Retries, because an install may have taken minutes, and a restart of the database takes seconds.
    async fn add_environment(&self, build: &EnvironmentBuild, size: u64) -> Result<(), String> {
        let engine = self.worker.docker.engine_id().await.map_err(|error| error.to_string())?;
        let key = EnvironmentKey { engine, key: build.key.clone() };
        let started = Instant::now();
        loop {
            match self.worker.store.add_environment(&key, &build.volume, size).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_transient() && started.elapsed() < DATABASE_TIMEOUT => {
                    tokio::time::sleep(DATABASE_RETRY_PAUSE).await;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// The size of an environment is known only now that it is complete.
    async fn make_room(&self) {
        match tokio::time::timeout(DATABASE_TIMEOUT, self.worker.budget.enforce(&self.worker.store)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(self.log, "freeing disk space failed; the next sweep retries"; "error" => %error)
            }
            Err(_) => warn!(self.log, "freeing disk space takes long; the next sweep continues"),
        }
    }

    /// Most file systems cannot limit the size of a volume, so a check during the install must keep the disk free.
    fn disk_limit(&self, volume: String) -> Limit {
        let worker = self.worker.clone();
        Box::pin(async move {
            let mut pause = FIRST_SIZE_CHECK;
            loop {
                tokio::time::sleep(pause).await;
                let started = Instant::now();
                match worker.docker.volume_size(&volume).await {
                    Ok(Some(size)) if size > worker.settings.install.max_size.0 => return,
                    Ok(_) => {}
                    Err(error) => {
                        warn!(worker.log, "checking the disk usage of an install failed"; "error" => %error);
                    }
                }
                pause = FIRST_SIZE_CHECK.max(started.elapsed() * SIZE_CHECK_PAUSE_FACTOR);
            }
        })
    }
}

async fn measured_size(sandbox: &mut Sandbox, exit: &rgrid_init::Exit) -> Result<u64, SandboxError> {
    let invalid = |reason: &str| SandboxError::Refused(reason.to_owned());
    let file = (0u32..).zip(&exit.outputs).find(|(_, file)| file.name == SIZE_FILE);
    let (number, file) = file.ok_or_else(|| invalid("its size was not reported"))?;
    if file.size > MAX_SIZE_FILE {
        return Err(invalid("its size is not a number"));
    }
    let download = tokio::time::timeout(finish::DOWNLOAD_TIMEOUT, sandbox.download(number, file.size)).await;
    let content = download.map_err(|_| invalid("reading its size timed out"))??;
    String::from_utf8_lossy(&content).trim().parse().map_err(|_| invalid("its size is not a number"))
}

fn install_failed(error: &str) -> Outcome {
    Outcome::Failed { kind: FailureKind::Install, error: error.to_owned() }
}

/// A file of the server could not be read.
fn unreadable(error: String) -> StartError {
    StartError::ended(FailureKind::Install, error)
}
