//! One container, and the conversation with its init about an attempt.

use std::time::Duration;

use bollard::query_parameters::{CreateContainerOptions, StartContainerOptions};
use rgrid_init::{Command, Event, Job, MAX_PIECE, Message, PROTOCOL_VERSION, State, Token};
use slog::{debug, warn};
use tokio::time::Instant;

use crate::failpoint;
use crate::metrics::docker_call;
use crate::sandbox::connection::Wire;
use crate::sandbox::error::answered;
use crate::sandbox::network::holders::Lodging;
use crate::sandbox::profile::Access;
use crate::sandbox::reaper::Doomed;
use crate::sandbox::reuse::History;
use crate::sandbox::{Docker, DockerError, EnvironmentBuild, ManagedContainer, Profile, SandboxError};

/// From the start of the container, or a new attach, to the init's hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(20);
/// From the job to its first event, which takes no time unless Docker hangs. Generous: what is in a connection that
/// hangs may still get through.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(120);
/// Between two tries to attach again; the executor's own deadline ends them.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A numbered event of the job.
#[derive(Debug)]
pub struct SandboxEvent {
    pub seq: u64,
    pub event: Event,
}

/// Dropping it removes the container.
pub struct Sandbox {
    docker: Docker,
    container: String,
    token: Token,
    /// The environment that it builds, and that goes away with it.
    builds: Option<EnvironmentBuild>,
    /// None while the connection is broken.
    pub(crate) wire: Option<Wire>,
    /// What the init said of itself at the last hello.
    state: State,
    /// The event that told that the job has begun.
    first: Option<SandboxEvent>,
    /// Number of the last event that came in.
    last: u64,
    /// A cancel must not get lost with a connection.
    cancelled: bool,
    /// None once somebody else has it.
    lodging: Option<Lodging>,
    /// Something may have gone through its network.
    network_used: bool,
    pub(crate) history: History,
}

struct Hello {
    state: State,
    job: Option<String>,
}

impl Docker {
    /// A new container whose init waits for its job.
    pub async fn create_sandbox(&self, profile: &Profile) -> Result<Sandbox, DockerError> {
        let begun = Instant::now();
        let lodging = self.holders.lodge(profile.network);
        let joins = lodging.holder().map(str::to_owned);
        let mut parked = self.try_create_sandbox(profile, lodging).await;
        if let (Err(DockerError::Refused { reason, .. }), Some(holder)) = (&parked, joins) {
            // Most likely the holder is gone.
            warn!(self.log, "a sandbox could not join a network"; "holder" => holder, "reason" => reason);
            self.holders.doubt(profile.network);
            parked = self.try_create_sandbox(profile, self.holders.own(profile.network)).await;
        }
        if let Err(DockerError::Refused { .. }) = &parked {
            self.doubt().await;
        }
        self.turns.note(parked.is_ok(), begun.elapsed());
        parked
    }

    async fn try_create_sandbox(&self, profile: &Profile, lodging: Lodging) -> Result<Sandbox, DockerError> {
        let token = new_token()?;
        let ground = self.ground(&profile.image).await?;
        if let Some(volume) = &profile.environment {
            self.must_be_there(volume).await?;
        }
        let holder = lodging.holder();
        let body = profile.container(&self.settings, &ground, token.as_str(), Access::ReadOnly, holder);
        let made =
            docker_call("create", answered(self.api.create_container(None::<CreateContainerOptions>, body)))
                .await;
        let container = made.map_err(|error| self.failed("make a sandbox", error))?.id;
        // From here on dropping it removes it.
        failpoint::hit("park.made").await;
        self.start(Sandbox::unconnected(self.clone(), container, token, None, lodging)).await
    }

    /// Starts a container that was made; returns when its init waits for a job.
    pub(crate) async fn start(&self, mut sandbox: Sandbox) -> Result<Sandbox, DockerError> {
        // What fails to start may have failed over its holder.
        sandbox.network_used = true;
        let wire = docker_call("attach", Wire::attach(self, &sandbox.container, sandbox.token.clone())).await;
        let start = self.api.start_container(&sandbox.container, None::<StartContainerOptions>);
        let started = docker_call("start", answered(start)).await;
        started.map_err(|error| self.failed("start a sandbox", error))?;
        let wire = wire.map_err(DockerError::NoHandshake)?;
        let hello = docker_call("hello", sandbox.handshake(wire)).await.map_err(DockerError::NoHandshake)?;
        match hello.state {
            State::Parked => {
                sandbox.network_used = false;
                Ok(sandbox)
            }
            other => Err(DockerError::NoHandshake(format!("a new sandbox says that it is {other:?}"))),
        }
    }

    /// Connects to a container that another worker left; also tells the job it runs, if any.
    pub async fn reattach(
        &self,
        found: &ManagedContainer,
    ) -> Result<(Sandbox, State, Option<String>), DockerError> {
        let token =
            Token::parse(&found.token).map_err(|error| DockerError::NoHandshake(error.to_string()))?;
        let builds = found.builds.clone();
        let lodging = self.holders.inherited(found.joined.clone());
        let mut sandbox = Sandbox::unconnected(self.clone(), found.container.clone(), token, builds, lodging);
        // What it did before, nobody knows yet.
        sandbox.network_used = true;
        match sandbox.connect().await {
            Ok(hello) => Ok((sandbox, hello.state, hello.job)),
            Err(reason) => {
                // Not ours to remove: the caller decides.
                sandbox.detach();
                Err(DockerError::NoHandshake(reason))
            }
        }
    }
}

impl Sandbox {
    pub(crate) fn unconnected(
        docker: Docker,
        container: String,
        token: Token,
        builds: Option<EnvironmentBuild>,
        lodging: Lodging,
    ) -> Self {
        docker.reaper.note(&container);
        Self {
            docker,
            container,
            token,
            builds,
            wire: None,
            state: State::Parked,
            first: None,
            last: 0,
            cancelled: false,
            lodging: Some(lodging),
            network_used: false,
            history: History::new(),
        }
    }

    pub fn container(&self) -> &str {
        &self.container
    }

    /// The environment that it builds, if it builds one.
    pub fn builds(&self) -> Option<&EnvironmentBuild> {
        self.builds.as_ref()
    }

    /// The environment is whole and written down: it outlives the sandbox.
    pub fn keep_environment(&mut self) {
        self.builds = None;
    }

    /// Leaves the container to itself.
    pub fn detach(mut self) {
        self.docker.reaper.forget(&std::mem::take(&mut self.container));
        if let Some(lodging) = self.lodging.take() {
            lodging.abandon();
        }
    }

    /// Puts a read-only file into the workspace. Only before the start.
    pub async fn upload(&mut self, name: &str, content: &[u8]) -> Result<(), SandboxError> {
        let mut offset = 0;
        // An empty file is one empty piece.
        let pieces = content.chunks(MAX_PIECE).chain(content.is_empty().then_some(content));
        for piece in pieces {
            let command = Command::File { name: name.to_owned(), offset, content: piece.to_vec() };
            self.send(&command).await?;
            offset += piece.len() as u64;
        }
        Ok(())
    }

    /// Hands over the job; returns when the init has begun it. An error means that it has not.
    ///
    /// Takes as long as Docker hangs: only the init can tell whether it has the job.
    pub async fn run(&mut self, job: Job) -> Result<(), SandboxError> {
        // Until the init has told otherwise.
        self.network_used = true;
        self.send(&Command::Run(job)).await?;
        loop {
            // A connection that says nothing is made anew: the next hello tells.
            let Ok(incoming) = tokio::time::timeout(BEGIN_TIMEOUT, self.incoming()).await else {
                self.wire = None;
                continue;
            };
            match incoming? {
                Some(Message::Event { seq, event }) => {
                    self.last = seq;
                    self.first = Some(self.step(seq, event));
                    return Ok(());
                }
                Some(Message::Refused { reason }) => return Err(SandboxError::Refused(reason)),
                Some(_) => {}
                // Whether the job got through before the connection broke, only the init can tell.
                None if self.state == State::Parked => {
                    return Err(SandboxError::Disconnected("the job did not get through".to_owned()));
                }
                None => return Ok(()),
            }
        }
    }

    /// The next event. A connection that breaks is mended as long as the container runs. May be dropped
    /// at any time without losing anything.
    pub async fn next_event(&mut self) -> Result<SandboxEvent, SandboxError> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        loop {
            match self.incoming().await? {
                Some(Message::Event { seq, event }) if seq > self.last => {
                    self.last = seq;
                    return Ok(self.step(seq, event));
                }
                // Told once more after a new attach.
                Some(Message::Event { .. }) | None => {}
                Some(Message::Refused { reason }) => return Err(SandboxError::Refused(reason)),
                Some(other) => {
                    debug!(self.docker.log, "unexpected message"; "message" => ?other)
                }
            }
        }
    }

    fn step(&mut self, seq: u64, event: Event) -> SandboxEvent {
        self.history.note(&event);
        if let Event::Exit(exit) = &event {
            self.network_used = exit.network_used;
        }
        SandboxEvent { seq, event }
    }

    /// These events are stored; the init may forget them. One that gets lost is made good by the next.
    pub async fn ack(&mut self, upto: u64) {
        if let Err(error) = self.send(&Command::Ack { upto }).await {
            debug!(self.docker.log, "an ack got lost"; "error" => %error);
        }
    }

    pub async fn cancel(&mut self) {
        self.cancelled = true;
        self.history.spoil();
        if let Err(error) = self.send(&Command::Cancel).await {
            debug!(self.docker.log, "the cancel is sent again after the next attach"; "error" => %error);
        }
    }

    /// A file that the script left, number `output` of the exit's list.
    pub async fn download(&mut self, output: u32, size: u64) -> Result<Vec<u8>, SandboxError> {
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        let mut asked = false;
        loop {
            if !asked {
                let offset = content.len() as u64;
                let max = u32::try_from(MAX_PIECE).unwrap_or(u32::MAX);
                asked = self.send(&Command::Fetch { output, offset, max }).await.is_ok();
            }
            match self.incoming().await? {
                Some(Message::Piece { output: number, offset, content: piece, last })
                    if number == output && offset == content.len() as u64 =>
                {
                    content.extend_from_slice(&piece);
                    if last {
                        return Ok(content);
                    }
                    asked = false;
                }
                Some(Message::Refused { reason }) => return Err(SandboxError::Refused(reason)),
                // Somebody has attached, and the init has forgotten what it was asked before.
                Some(Message::Hello { .. }) | None => asked = false,
                Some(_) => {}
            }
        }
    }

    /// The next message. None: the connection is another one now, so what was asked on the old one has to be
    /// asked again.
    async fn incoming(&mut self) -> Result<Option<Message>, SandboxError> {
        let Some(wire) = self.wire.as_mut() else {
            self.reconnect().await?;
            return Ok(None);
        };
        match wire.receive().await {
            Ok(message) => Ok(Some(message)),
            Err(reason) => {
                debug!(self.docker.log, "the connection broke"; "container" => &self.container, "reason" => reason);
                self.wire = None;
                self.reconnect().await?;
                Ok(None)
            }
        }
    }

    /// Attaches again for as long as the container runs, or Docker does not say that it does not.
    async fn reconnect(&mut self) -> Result<(), SandboxError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.docker.how_it_ended(&self.container).await {
                Ok(Some(gone)) => return Err(gone),
                Ok(None) => match self.connect().await {
                    Ok(_) => return Ok(()),
                    Err(reason) => warn!(self.docker.log, "no attach yet"; "reason" => reason),
                },
                Err(error) => warn!(self.docker.log, "Docker is away"; "error" => %error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn connect(&mut self) -> Result<Hello, String> {
        // Bytes of the former connection may still come.
        self.history.spoil();
        let wire = Wire::attach(&self.docker, &self.container, self.token.clone()).await?;
        let hello = self.handshake(wire).await?;
        if self.cancelled {
            self.send(&Command::Cancel).await.map_err(|error| error.to_string())?;
        }
        Ok(hello)
    }

    async fn handshake(&mut self, mut wire: Wire) -> Result<Hello, String> {
        wire.begin(&self.token, self.last).await?;
        let answered = tokio::time::timeout(HELLO_TIMEOUT, wire.receive()).await;
        let message = answered.map_err(|_| format!("no hello within {}s", HELLO_TIMEOUT.as_secs()))??;
        match message {
            Message::Hello { version: PROTOCOL_VERSION, state, job } => {
                self.wire = Some(wire);
                self.state = state;
                Ok(Hello { state, job })
            }
            Message::Hello { version, .. } => {
                Err(format!("it speaks version {version} of the protocol, this daemon {PROTOCOL_VERSION}"))
            }
            other => Err(format!("it said {other:?} instead of hello")),
        }
    }

    pub(crate) async fn send(&mut self, command: &Command) -> Result<(), SandboxError> {
        let Some(wire) = self.wire.as_mut() else {
            return Err(SandboxError::Disconnected("there is no connection".to_owned()));
        };
        let sent = wire.send(command).await;
        sent.map_err(|reason| {
            self.wire = None;
            SandboxError::Disconnected(reason)
        })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(lodging) = self.lodging.take() {
            let volume = self.builds.take().map(|building| building.volume);
            let container = std::mem::take(&mut self.container);
            self.docker.reaper.take(Doomed::with_lodging(container, volume, lodging, self.network_used));
        }
    }
}

pub(crate) fn new_token() -> Result<Token, DockerError> {
    let mut random = [0u8; 16];
    getrandom::fill(&mut random)
        .map_err(|error| DockerError::NoHandshake(format!("no random numbers: {error}")))?;
    Ok(Token::from_random(random))
}
