//! One container and its connection to the init inside.

use std::time::Duration;

use rgrid_init::{
    Command, Download, Event, EventCheck, InitState, Job, MAX_PIECE, Message, PROTOCOL_VERSION, Token,
};
use slog::{debug, warn};
use tokio::time::Instant;

use crate::failpoint;
use crate::metrics::docker_call;
use crate::sandbox::{
    Docker, DockerError, EnvironmentBuild, ManagedContainer, Profile, SandboxError, connection::Connection,
    connection::ReceiveError, docker::volumes::Access, network::holders::Lodging, profile::ContainerOptions,
    reaper::RemovalRequest, reuse::History,
};

/// From the start of the container, or from an attach, to the init's hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(20);
/// The same for an init that has answered before. Its container may be about to be removed; the next try finds out.
const HELLO_AGAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// From sending the job to its first event, which is immediate unless Docker hangs. A hanging connection may still
/// deliver its data, so this is generous.
const FIRST_EVENT_TIMEOUT: Duration = Duration::from_secs(120);
/// Pause between two reconnect attempts. The executor's own deadline ends them.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// A numbered event of the job.
#[derive(Debug)]
pub struct SandboxEvent {
    pub seq: u64,
    pub event: Event,
}

/// One container. Dropping it removes the container.
pub struct Sandbox {
    docker: Docker,
    container: String,
    token: Token,
    /// The environment that it builds. The volume is removed with the container.
    pub(crate) builds: Option<EnvironmentBuild>,
    /// `None` while the connection is broken.
    pub(crate) connection: Option<Connection>,
    /// The init's state at the last handshake.
    state: InitState,
    /// The event that confirmed the start of the job.
    first: Option<SandboxEvent>,
    /// Number of the last event received.
    last_seq: u64,
    check: EventCheck,
    /// Resent after a reconnect, because a cancellation must not be lost with a connection.
    cancelled: bool,
    /// How often the engine had been lost when this process got to know the container.
    engine_losses: u64,
    /// `None` once the removal or another process is responsible for it.
    lodging: Option<Lodging>,
    /// Whether something may have used the network. True whenever it is unknown.
    network_used: bool,
    pub(crate) history: History,
}

impl Docker {
    /// Creates a container whose init waits for a job.
    pub async fn create_sandbox(&self, profile: &Profile) -> Result<Sandbox, DockerError> {
        let started = Instant::now();
        let lodging = self.holders.lodge(profile.network);
        let holder = lodging.holder().map(str::to_owned);
        let mut created = self.try_create_sandbox(profile, lodging).await;
        if let (Err(DockerError::Refused { reason, .. }), Some(holder)) = (&created, holder) {
            // The most likely cause is that the holder is gone.
            warn!(self.log, "a sandbox could not join a network"; "holder" => holder, "reason" => reason);
            self.holders.clear(profile.network);
            created = self.try_create_sandbox(profile, self.holders.own(profile.network)).await;
        }
        if let Err(DockerError::Refused { .. }) = &created {
            self.invalidate_caches().await;
        }
        self.start_limiter.record(created.is_ok(), started.elapsed());
        created
    }

    async fn try_create_sandbox(&self, profile: &Profile, lodging: Lodging) -> Result<Sandbox, DockerError> {
        let token = Token::from_random(random()?);
        let infrastructure = self.infrastructure(&profile.image).await?;
        if let Some(volume) = &profile.environment {
            self.require_environment(volume).await?;
        }
        let options = ContainerOptions { token: &token, access: Access::ReadOnly, holder: lodging.holder() };
        let body = profile.container(&self.settings, &infrastructure, &options);
        let created = docker_call("create", self.create_container(None, body)).await;
        let container = created.map_err(|error| self.failed("create a sandbox", error))?;
        failpoint::hit("park.made").await;
        // From here on, dropping the sandbox removes the container.
        Sandbox::new(self.clone(), container, token, lodging).start().await
    }

    /// Connects to the sandbox of another worker. Also returns the init's state and its current job.
    pub async fn reattach(
        &self,
        found: &ManagedContainer,
    ) -> Result<(Sandbox, InitState, Option<String>), DockerError> {
        let token =
            Token::parse(&found.token).map_err(|error| DockerError::NoHandshake(error.to_string()))?;
        let lodging = self.holders.inherited(found.joined.clone());
        let mut sandbox = Sandbox::new(self.clone(), found.container.clone(), token, lodging);
        sandbox.builds = found.builds.clone();
        sandbox.check = EventCheck::adopted();
        // What its jobs did so far is unknown.
        sandbox.network_used = true;
        match sandbox.connect().await {
            Ok(job) => {
                let state = sandbox.state;
                Ok((sandbox, state, job))
            }
            Err(reason) => {
                // The caller decides whether to remove the container.
                sandbox.detach();
                Err(DockerError::NoHandshake(reason))
            }
        }
    }
}

impl Sandbox {
    /// A container that exists, without a connection.
    pub(crate) fn new(docker: Docker, container: String, token: Token, lodging: Lodging) -> Self {
        docker.reaper.track(&container);
        Self {
            engine_losses: docker.engine_losses(),
            docker,
            container,
            token,
            builds: None,
            connection: None,
            state: InitState::Parked,
            first: None,
            last_seq: 0,
            check: EventCheck::new(0, 0),
            cancelled: false,
            lodging: Some(lodging),
            network_used: false,
            history: History::new(),
        }
    }

    /// Starts the created container and waits until its init is ready for a job.
    pub(crate) async fn start(mut self) -> Result<Self, DockerError> {
        let docker = self.docker.clone();
        // A start that fails may have failed because of the holder, which must not be lent again.
        self.network_used = true;
        // Attach first, so that nothing the init sends is missed.
        let attach = Connection::attach(&docker, &self.container, self.token.clone());
        let attached = docker_call("attach", attach).await;
        let started = docker_call("start", docker.start_container(&self.container)).await;
        started.map_err(|error| docker.failed("start a sandbox", error))?;
        let connection = attached.map_err(DockerError::NoHandshake)?;
        docker_call("hello", self.handshake(connection, HELLO_TIMEOUT))
            .await
            .map_err(DockerError::NoHandshake)?;
        match self.state {
            InitState::Parked => {
                self.network_used = false;
                Ok(self)
            }
            other => Err(DockerError::NoHandshake(format!("a new init reports the state {other:?}"))),
        }
    }

    pub fn container(&self) -> &str {
        &self.container
    }

    /// The environment that it builds, if it is a builder.
    pub fn builds(&self) -> Option<&EnvironmentBuild> {
        self.builds.as_ref()
    }

    /// Keeps the environment's volume when the sandbox is removed. Call it once the environment is recorded.
    pub fn keep_environment(&mut self) {
        self.builds = None;
    }

    /// Drops the connection and leaves the container running.
    pub fn detach(mut self) {
        self.docker.reaper.untrack(&std::mem::take(&mut self.container));
        if let Some(lodging) = self.lodging.take() {
            lodging.abandon();
        }
    }

    /// Uploads a read-only file into the workspace, before the job starts.
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

    /// Sends the job and waits until the init has started it. After an error it has not been started.
    ///
    /// Waits as long as Docker hangs, because only the init knows whether it received the job.
    pub async fn run(&mut self, job: Job) -> Result<(), SandboxError> {
        self.network_used = true;
        self.check = EventCheck::new(job.limits.output_limit, self.last_seq);
        self.send(&Command::Run(job)).await?;
        failpoint::hit("hand_over.sent").await;
        loop {
            // The hello of a new connection reports whether the job arrived.
            let Ok(received) = tokio::time::timeout(FIRST_EVENT_TIMEOUT, self.receive()).await else {
                self.connection = None;
                continue;
            };
            match received? {
                Some(Message::Event { seq, event }) => {
                    self.first = Some(self.observe(seq, event));
                    return Ok(());
                }
                Some(Message::Refused { reason }) => return Err(SandboxError::Refused(reason)),
                Some(_) => {}
                None if self.state == InitState::Parked => {
                    return Err(SandboxError::Disconnected("the job was lost".to_owned()));
                }
                None => return Ok(()),
            }
        }
    }

    /// Receives the next event. Reconnects as long as the container runs. Cancel-safe.
    pub async fn next_event(&mut self) -> Result<SandboxEvent, SandboxError> {
        if let Some(first) = self.first.take() {
            self.check.event(first.seq, &first.event)?;
            return Ok(first);
        }
        loop {
            match self.receive().await? {
                Some(Message::Event { seq, event }) if seq > self.last_seq => {
                    self.check.event(seq, &event)?;
                    return Ok(self.observe(seq, event));
                }
                // After a reconnect, the init resends events that were not acknowledged.
                Some(Message::Event { .. }) | None => {}
                Some(Message::Refused { reason }) => return Err(SandboxError::Refused(reason)),
                Some(other) => debug!(self.docker.log, "unexpected message"; "message" => ?other),
            }
        }
    }

    fn observe(&mut self, seq: u64, event: Event) -> SandboxEvent {
        self.last_seq = seq;
        self.history.note(&event);
        if let Event::Exit(exit) = &event {
            self.network_used = exit.network_used;
        }
        SandboxEvent { seq, event }
    }

    /// Confirms that these events are stored, so that the init may discard them. A lost ack is covered by the next one.
    pub async fn ack(&mut self, upto: u64) {
        self.check.stored(upto);
        if let Err(error) = self.send(&Command::Ack { upto }).await {
            debug!(self.docker.log, "an ack was lost"; "error" => %error);
        }
    }

    pub async fn cancel(&mut self) {
        self.cancelled = true;
        self.history.spoil();
        if let Err(error) = self.send(&Command::Cancel).await {
            debug!(self.docker.log, "the cancellation is resent after the reconnect"; "error" => %error);
        }
    }

    /// Downloads an output file. `output` is its index in the list of the exit event.
    pub async fn download(&mut self, output: u32, size: u64) -> Result<Vec<u8>, SandboxError> {
        let mut download = Download::new(output, size);
        let mut requested = false;
        loop {
            if !requested {
                let offset = download.offset();
                let max = u32::try_from(MAX_PIECE).unwrap_or(u32::MAX);
                requested = self.send(&Command::Fetch { output, offset, max }).await.is_ok();
            }
            match self.receive().await? {
                Some(Message::Piece { output, offset, content, last }) => {
                    match download.add(output, offset, &content, last)? {
                        Some(true) => return Ok(download.into_content()),
                        Some(false) => requested = false,
                        None => {}
                    }
                }
                Some(Message::Refused { reason }) => return Err(SandboxError::Refused(reason)),
                // On a new connection the init does not answer earlier requests.
                Some(Message::Hello { .. }) | None => requested = false,
                Some(_) => {}
            }
        }
    }

    /// Receives the next message. `None` after a reconnect: earlier requests must be sent again.
    async fn receive(&mut self) -> Result<Option<Message>, SandboxError> {
        if let Some(connection) = self.connection.as_mut() {
            match connection.receive().await {
                Ok(message) => return Ok(Some(message)),
                Err(ReceiveError::Violation(violation)) => return Err(violation.into()),
                Err(ReceiveError::Broken(reason)) => {
                    debug!(self.docker.log, "the connection to a sandbox broke";
                        "container" => &self.container, "reason" => reason);
                    self.connection = None;
                }
            }
        }
        self.reconnect().await?;
        Ok(None)
    }

    /// Retries until it is connected, or until Docker reports that the container has ended. An engine that is lost gets
    /// a lease's time to return.
    async fn reconnect(&mut self) -> Result<(), SandboxError> {
        let mut pause = MIN_PAUSE;
        let mut unreachable_since = None;
        loop {
            match self.docker.exit_state(&self.container).await {
                Ok(Some(SandboxError::Gone { oom_killed: false, .. }))
                    if unreachable_since.is_some() || self.docker.engine_losses() > self.engine_losses =>
                {
                    return Err(SandboxError::EngineLost(
                        "it ended the container when it restarted".to_owned(),
                    ));
                }
                Ok(Some(gone)) => return Err(gone),
                Ok(None) => match self.connect().await {
                    Ok(_) => return Ok(()),
                    Err(reason) => {
                        warn!(self.docker.log, "cannot reconnect to a sandbox"; "reason" => reason)
                    }
                },
                Err(error) => {
                    warn!(self.docker.log, "cannot inspect a sandbox"; "error" => %error);
                    let since = *unreachable_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > self.docker.settings.engine_timeout {
                        return Err(SandboxError::EngineLost(error.to_string()));
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Returns the ID of the init's current job.
    async fn connect(&mut self) -> Result<Option<String>, String> {
        // Data of the previous connection may still arrive, which rules out another job.
        self.history.spoil();
        let connection = Connection::attach(&self.docker, &self.container, self.token.clone()).await?;
        let job = self.handshake(connection, HELLO_AGAIN_TIMEOUT).await?;
        if self.cancelled {
            self.send(&Command::Cancel).await.map_err(|error| error.to_string())?;
        }
        Ok(job)
    }

    async fn handshake(
        &mut self,
        mut connection: Connection,
        timeout: Duration,
    ) -> Result<Option<String>, String> {
        connection.open(&self.token, self.last_seq).await?;
        let answer = tokio::time::timeout(timeout, connection.receive()).await;
        let answer = answer.map_err(|_| format!("no hello within {}s", timeout.as_secs()))?;
        match answer.map_err(|error| error.to_string())? {
            Message::Hello { version: PROTOCOL_VERSION, state, job } => {
                self.connection = Some(connection);
                self.state = state;
                Ok(job)
            }
            Message::Hello { version, .. } => Err(format!(
                "the init uses protocol version {version}, this daemon uses version {PROTOCOL_VERSION}"
            )),
            other => Err(format!("expected hello, received {other:?}")),
        }
    }

    pub(crate) fn require_connection(&mut self) -> Result<&mut Connection, SandboxError> {
        let missing = || SandboxError::Disconnected("there is no connection".to_owned());
        self.connection.as_mut().ok_or_else(missing)
    }

    pub(crate) async fn send(&mut self, command: &Command) -> Result<(), SandboxError> {
        let sent = self.require_connection()?.send(command).await;
        sent.map_err(|reason| {
            self.connection = None;
            SandboxError::Disconnected(reason)
        })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(lodging) = self.lodging.take() {
            self.docker.reaper.remove(RemovalRequest {
                container: std::mem::take(&mut self.container),
                volume: self.builds.take().map(|environment| environment.volume),
                lodging: Some(lodging),
                network_used: self.network_used,
            });
        }
    }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], DockerError> {
    let mut bytes = [0; N];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| DockerError::NoHandshake(format!("no random numbers: {error}")))?;
    Ok(bytes)
}
