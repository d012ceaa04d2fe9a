//! From a claim to the environment with its requirements: found, waited for, or installed.
//!
//! Nothing of the script has run until then. The row says `installing` meanwhile, so that a worker that is lost
//! over it costs no attempt; a builder that outlives its worker is taken over like any other sandbox.

use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, info};
use tokio::time::Instant;

use crate::execution::{Claimed, ExecutionRecord, FailureKind, PhaseTimes, Requirements};
use crate::sandbox::{NetworkMode, Profile, Sandbox};
use crate::settings::RuntimeEntry;
use crate::store::EnvironmentKey;
use crate::worker::Worker;
use crate::worker::active_claims::ClaimHandle;
use crate::worker::attempt::Ending;
use crate::worker::attempt::builder;
use crate::worker::attempt::dispatch::{Failure, StartAttempts, concluded, ordered};
use crate::worker::attempt::environment_spec::{self, Recipe};
use crate::worker::attempt::output_buffer::{OutputBuffer, Phase};
use crate::worker::recorder::Append;

/// How often a run that waits looks whether the other one is done.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const WAITING: &str = "Another run is installing the same requirements; this one waits for it.\n";

/// A claim on its way to its script.
pub(crate) struct Preparing<'a> {
    pub worker: &'a Arc<Worker>,
    pub claimed: &'a Claimed,
    pub runtime: &'a RuntimeEntry,
    pub log: &'a Logger,
    pub transcript: OutputBuffer,
    /// Since when it waits for somebody else's install.
    waits_since: Option<Instant>,
    /// The row says so.
    noted: bool,
    /// How long it took so far to get what the script requires; none while it was there already.
    took: Option<Duration>,
    /// Something was to be installed, or waited for.
    busy: bool,
}

/// What to do next about an environment.
enum Step {
    /// It is whole.
    Use(String),
    Build(Box<Sandbox>, Recipe),
    Wait,
    /// What this run has waited for failed, and so would this one's.
    Share(Box<ExecutionRecord>),
}

impl<'a> Preparing<'a> {
    pub fn new(
        worker: &'a Arc<Worker>,
        claimed: &'a Claimed,
        runtime: &'a RuntimeEntry,
        transcript: OutputBuffer,
        log: &'a Logger,
    ) -> Self {
        Self {
            worker,
            claimed,
            runtime,
            log,
            transcript,
            waits_since: None,
            noted: false,
            took: None,
            busy: false,
        }
    }

    /// The volume with what the execution requires; none when it requires nothing.
    pub async fn environment(&mut self, held: &mut ClaimHandle) -> Result<Option<String>, Ending> {
        let since = Instant::now();
        let prepared = self.prepare(held).await;
        self.count(since);
        prepared
    }

    /// Of the time before the script, what is known without its sandbox.
    pub fn phases(&self) -> PhaseTimes {
        PhaseTimes { environment: self.took, ..PhaseTimes::default() }
    }

    /// All of that time: what did not go into the environment went into the sandbox.
    pub fn phases_of(&self, whole: Duration) -> PhaseTimes {
        let sandbox = whole.saturating_sub(self.took.unwrap_or_default());
        PhaseTimes { sandbox: Some(sandbox), ..self.phases() }
    }

    /// Only where something was installed or waited for: a look takes no time worth telling.
    fn count(&mut self, since: Instant) {
        if self.busy {
            self.took = Some(self.took.unwrap_or_default() + since.elapsed());
        }
    }

    async fn prepare(&mut self, held: &mut ClaimHandle) -> Result<Option<String>, Ending> {
        let requirements = match self.claimed.requirements.as_deref().map(Requirements::parse) {
            None | Some(Ok(None)) => return Ok(None),
            Some(Ok(Some(requirements))) => requirements,
            Some(Err(mistakes)) => return Err(install_failed(mistakes.join("; "))),
        };
        let mut tries = StartAttempts::default();
        loop {
            let step = tokio::select! {
                step = self.next(&requirements) => step,
                ending = ordered(held) => return Err(ending),
            };
            let done = match step {
                Ok(Step::Use(volume)) => Ok(Some(volume)),
                Ok(Step::Share(conclusion)) => return Err(concluded(*conclusion)),
                Ok(Step::Wait) => Ok(None),
                Ok(Step::Build(sandbox, recipe)) => self.build(held, *sandbox, recipe).await?.map(Some),
                Err(failure) => Err(failure),
            };
            match done {
                Ok(Some(volume)) => return self.leave(held, volume).await.map(Some),
                Ok(None) => tries.forget(),
                Err(failure) => tries.count(failure, self.log)?,
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                ending = ordered(held) => return Err(ending),
            }
        }
    }

    /// Goes on with an install that an earlier daemon began. What it builds is found by its key afterwards, as
    /// by any other run.
    pub async fn go_on(&mut self, held: &mut ClaimHandle, sandbox: Sandbox) -> Result<(), Ending> {
        (self.noted, self.busy) = (true, true);
        let Some(building) = sandbox.builds().cloned() else { return Ok(()) };
        let since = Instant::now();
        let built = builder::follow(self, held, sandbox, &building).await;
        self.count(since);
        built.map(|_| ())
    }

    /// To be followed once nothing more is to be installed.
    pub fn into_transcript(mut self) -> OutputBuffer {
        self.transcript.enter(Phase::Script);
        self.transcript
    }

    async fn next(&mut self, requirements: &Requirements) -> Result<Step, Failure> {
        let (key, recipe) = self.key(requirements.clone()).await?;
        if let Some(volume) = self.worker.store.use_environment(&key).await? {
            return Ok(Step::Use(volume));
        }
        self.note_installing().await?;
        if let Some(since) = self.waits_since
            && let Some(conclusion) = self.worker.failed_installs.since(&key.key, since)
        {
            return Ok(Step::Share(Box::new(conclusion)));
        }
        if !self.worker.docker.is_building(&key.key).await?
            && let Some(sandbox) = self.builder(&recipe, &key.key).await?
        {
            return Ok(Step::Build(Box::new(sandbox), recipe));
        }
        self.say_that_it_waits().await;
        Ok(Step::Wait)
    }

    /// Ends with the volume, or with the attempt; a failure leaves everything as if it had not been tried.
    async fn build(
        &mut self,
        held: &mut ClaimHandle,
        mut sandbox: Sandbox,
        recipe: Recipe,
    ) -> Result<Result<String, Failure>, Ending> {
        let Some(building) = sandbox.builds().cloned() else {
            return Ok(Err(Failure::Sandbox("it builds nothing".to_owned())));
        };
        info!(self.log, "installing requirements"; "environment" => &building.volume);
        let job = recipe.job(&self.claimed.claim, self.runtime, &self.worker.settings);
        let begun = async {
            for (name, content) in recipe.files(&self.worker.settings).await.map_err(unreadable)? {
                sandbox.upload(name, &content).await?;
            }
            Ok::<_, Failure>(sandbox.run(job).await?)
        };
        let begun = tokio::select! {
            begun = tokio::time::timeout(builder::outer_deadline(self.worker), begun) => begun,
            ending = ordered(held) => return Err(ending),
        };
        let late = |_| Err(Failure::Sandbox("the builder did not begin in time".to_owned()));
        if let Err(failure) = begun.unwrap_or_else(late) {
            return Ok(Err(failure));
        }
        builder::follow(self, held, sandbox, &building).await.map(Ok)
    }

    /// None: somebody else was faster. In a task of its own: half-made it would stand in everybody's way, so it is
    /// made and then removed when nobody waits for it any more.
    async fn builder(&self, recipe: &Recipe, key: &str) -> Result<Option<Sandbox>, Failure> {
        let (docker, profile) = (self.worker.docker.clone(), self.builder_profile(recipe));
        let key = key.to_owned();
        let made = actix_rt::spawn(async move { docker.create_builder(&profile, &key).await }).await;
        Ok(made.map_err(|stopped| Failure::Sandbox(stopped.to_string()))??)
    }

    async fn key(&self, requirements: Requirements) -> Result<(EnvironmentKey, Recipe), Failure> {
        let (docker, settings) = (&self.worker.docker, &self.worker.settings);
        let image = docker.image(&self.runtime.image, self.runtime.pull).await?;
        let recipe = Recipe::new(image, requirements, settings).await.map_err(unreadable)?;
        let key = EnvironmentKey { engine: docker.engine_id().await?, key: recipe.key(settings) };
        Ok((key, recipe))
    }

    /// Not the script's: an install has its own memory, and it needs the network.
    fn builder_profile(&self, recipe: &Recipe) -> Profile {
        let settings = &self.worker.settings;
        Profile {
            image: recipe.image.clone(),
            memory_bytes: environment_spec::limits(settings).memory,
            cpus_milli: (settings.sandbox.cpus * 1000.0) as u32,
            network: NetworkMode::Internet,
            environment: None,
        }
    }

    async fn note_installing(&mut self) -> Result<(), Failure> {
        self.busy = true;
        if !self.noted {
            self.noted = self.worker.store.set_installing(&self.claimed.claim, true).await?;
        }
        Ok(())
    }

    /// A person who follows the run sees why nothing happens.
    async fn say_that_it_waits(&mut self) {
        if self.waits_since.is_some() {
            return;
        }
        self.waits_since = Some(Instant::now());
        info!(self.log, "waiting for another run's install");
        self.transcript.note(WAITING);
        let (chunks, _) = self.transcript.take_pending();
        let append = Append { claim: self.claimed.claim.clone(), chunks };
        // A lost claim is told by an order, and the text is in the transcript.
        let _ = self.worker.record(append).await;
    }

    /// From here on a lost worker may have run the script.
    async fn leave(&mut self, held: &mut ClaimHandle, volume: String) -> Result<String, Ending> {
        let mut tries = StartAttempts::default();
        while self.noted {
            match self.worker.store.set_installing(&self.claimed.claim, false).await {
                Ok(true) => self.noted = false,
                Ok(false) => return Err(Ending::ClaimLost),
                Err(error) => tries.count(error.into(), self.log)?,
            }
            if self.noted {
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    ending = ordered(held) => return Err(ending),
                }
            }
        }
        Ok(volume)
    }
}

/// A file of the server's.
fn unreadable(words: String) -> Failure {
    Failure::Final(Box::new(ExecutionRecord::failed(FailureKind::Install, words)))
}

fn install_failed(words: String) -> Ending {
    concluded(ExecutionRecord::failed(FailureKind::Install, words))
}
