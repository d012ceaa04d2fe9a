//! The Docker engine of this worker: found, asked whether it lives, and searched for containers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::{InspectContainerOptions, ListContainersOptions};
use slog::Logger;

use crate::metrics::docker_call;
use crate::sandbox::docker::environments::EnvironmentBuild;
use crate::sandbox::docker::images::Images;
use crate::sandbox::docker::infra::KnownGround;
use crate::sandbox::error::{CALL_TIMEOUT_SECONDS, answered, is_missing};
use crate::sandbox::network::holders::Holders;
use crate::sandbox::reaper::{Doomed, Reaper};
use crate::sandbox::start_limiter::Turns;
use crate::sandbox::{Background, DockerError, Foreground, HolderLimits, SandboxError};

const PING_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) const CLUSTER_LABEL: &str = "rgrid.cluster";
pub(crate) const WORKER_LABEL: &str = "rgrid.worker";
pub(crate) const TOKEN_LABEL: &str = "rgrid.token";
/// Of a holder: its kind of network.
pub(crate) const HOLDER_LABEL: &str = "rgrid.holder";

/// What is the same for all sandboxes of a worker.
#[derive(Debug, Clone)]
pub struct DockerSettings {
    /// None: `DOCKER_HOST`, then the usual sockets.
    pub host: Option<String>,
    /// Name of the sandboxes' network.
    pub network: String,
    /// Such as `runsc`; none: Docker's default.
    pub runtime: Option<String>,
    /// Processes and threads of a sandbox.
    pub pids: i64,
    /// Id of this deployment.
    pub cluster: String,
    /// Id of this worker.
    pub worker: String,
    pub park_ttl: Duration,
    pub orphan_ttl: Duration,
    /// A sandbox may get another job after its first.
    pub reuse: bool,
    pub holders: HolderLimits,
}

#[derive(Debug, Clone)]
pub struct EngineInfo {
    pub version: String,
}

/// A container of this deployment, whoever made it.
#[derive(Debug, Clone)]
pub struct ManagedContainer {
    pub container: String,
    /// Id of the worker that made it.
    pub worker: String,
    pub token: String,
    pub running: bool,
    /// Of one that installs.
    pub builds: Option<EnvironmentBuild>,
    /// It is a holder.
    pub is_holder: bool,
    /// The holder whose network it has joined.
    pub joined: Option<String>,
}

/// A handle on the engine; cloning it is cheap.
#[derive(Clone)]
pub struct Docker {
    pub(crate) api: bollard::Docker,
    pub(crate) address: Arc<str>,
    pub(crate) settings: Arc<DockerSettings>,
    pub(crate) images: Arc<Images>,
    pub(crate) ground: KnownGround,
    pub(crate) reaper: Reaper,
    pub(crate) holders: Holders,
    pub(crate) turns: Turns,
    /// Asked once.
    pub(crate) engine_id: Arc<tokio::sync::OnceCell<String>>,
    pub(crate) log: Logger,
}

impl Docker {
    /// Asks nothing of the engine but its version. Must be called within the async runtime.
    pub async fn connect(settings: DockerSettings, log: Logger) -> Result<Self, DockerError> {
        let address = address(settings.host.as_deref());
        let away = |error: bollard::errors::Error| DockerError::Unreachable {
            address: address.clone(),
            reason: error.to_string(),
        };
        let api = client(&address).map_err(away)?;
        let asked = tokio::time::timeout(PING_TIMEOUT, api.negotiate_version()).await;
        let api = asked.map_err(|_| silent(&address))?.map_err(away)?;
        let reaper = Reaper::new(api.clone(), log.clone());
        let holders = Holders::new(settings.holders, reaper.clone());
        Ok(Self {
            api,
            address: address.into(),
            settings: Arc::new(settings),
            images: Arc::default(),
            ground: KnownGround::default(),
            reaper,
            holders,
            turns: Turns::default(),
            engine_id: Arc::default(),
            log,
        })
    }

    /// Whether the engine answers, within seconds.
    pub async fn ping(&self) -> Result<EngineInfo, DockerError> {
        let asked = tokio::time::timeout(PING_TIMEOUT, docker_call("version", self.api.version())).await;
        let version = asked
            .map_err(|_| silent(&self.address))?
            .map_err(|error| self.failed("tell its version", error))?;
        Ok(EngineInfo { version: version.version.unwrap_or_else(|| "of unknown version".to_owned()) })
    }

    /// Whether the engine has the runtime that sandboxes are to run in.
    pub async fn check_runtime(&self) -> Result<(), DockerError> {
        let Some(wanted) = &self.settings.runtime else { return Ok(()) };
        let info = self.api.info().await.map_err(|error| self.failed("tell its runtimes", error))?;
        let mut known: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        known.sort_unstable();
        if known.contains(wanted) {
            return Ok(());
        }
        Err(DockerError::NoRuntime { wanted: wanted.clone(), known: known.join(", ") })
    }

    /// All containers of this deployment on this engine.
    pub async fn list_containers(&self) -> Result<Vec<ManagedContainer>, DockerError> {
        let filter = format!("{CLUSTER_LABEL}={}", self.settings.cluster);
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), vec![filter])])),
            ..Default::default()
        };
        let listed = answered(self.api.list_containers(Some(options))).await;
        let listed = listed.map_err(|error| self.failed("list containers", error))?;
        let found = |one: bollard::models::ContainerSummary| {
            let labels = one.labels.unwrap_or_default();
            let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
            let state = one.state.map(|state| state.to_string());
            let mode = one.host_config.and_then(|config| config.network_mode);
            let running = matches!(state.as_deref(), Some("running" | "paused"));
            Some(ManagedContainer {
                container: one.id?,
                worker: label(WORKER_LABEL),
                token: label(TOKEN_LABEL),
                running,
                builds: EnvironmentBuild::in_labels(&labels),
                is_holder: labels.contains_key(HOLDER_LABEL),
                joined: mode.and_then(|mode| mode.strip_prefix("container:").map(str::to_owned)),
            })
        };
        Ok(listed.into_iter().filter_map(found).collect())
    }

    /// Whether a sandbox of this process is in that container, or its removal is under way.
    pub fn is_tracked(&self, container: &str) -> bool {
        self.reaper.is_known(container)
    }

    /// Removes a container that is nobody's any more, and the holder that it has joined.
    pub fn remove(&self, found: &ManagedContainer) {
        let lodging = self.holders.inherited(found.joined.clone());
        self.reaper.take(Doomed::with_lodging(found.container.clone(), None, lodging, true));
    }

    /// Says that a run waits for its sandbox, until the answer is dropped.
    pub fn foreground(&self) -> Foreground {
        self.turns.first()
    }

    /// Returns when it is time to make a sandbox for later; the answer is kept while that is done.
    pub async fn background(&self) -> Background {
        self.turns.later().await
    }

    /// The containers of sandboxes of this process, and those whose removal is under way.
    pub fn remaining_containers(&self) -> Vec<String> {
        self.reaper.all_known()
    }

    /// Returns when all removals are done.
    pub async fn removals_finished(&self) {
        self.reaper.settled().await;
    }

    /// Docker's own word on a container that ended.
    pub(crate) async fn how_it_ended(&self, container: &str) -> Result<Option<SandboxError>, DockerError> {
        let asked = self.api.inspect_container(container, None::<InspectContainerOptions>);
        match answered(asked).await {
            Ok(inspected) => {
                let state = inspected.state.unwrap_or_default();
                if state.running == Some(true) {
                    return Ok(None);
                }
                let oom_killed = state.oom_killed == Some(true);
                Ok(Some(SandboxError::Gone { exit_code: state.exit_code, oom_killed }))
            }
            Err(error) if is_missing(&error) => {
                Ok(Some(SandboxError::Gone { exit_code: None, oom_killed: false }))
            }
            Err(error) => Err(self.failed("inspect a container", error)),
        }
    }

    pub(crate) fn failed(&self, what: &'static str, error: bollard::errors::Error) -> DockerError {
        DockerError::from_bollard(what, &self.address, error)
    }
}

fn silent(address: &str) -> DockerError {
    let reason = format!("no answer within {}s", PING_TIMEOUT.as_secs());
    DockerError::Unreachable { address: address.to_owned(), reason }
}

/// The given address, `DOCKER_HOST`, or the first of the usual sockets that exists.
fn address(given: Option<&str>) -> String {
    if let Some(host) = given {
        return host.to_owned();
    }
    if let Ok(host) = std::env::var("DOCKER_HOST")
        && !host.is_empty()
    {
        return host;
    }
    let below =
        |variable: &str, rest: &str| std::env::var_os(variable).map(|base| PathBuf::from(base).join(rest));
    let usual = [
        Some(PathBuf::from("/var/run/docker.sock")),
        below("XDG_RUNTIME_DIR", "docker.sock"),
        below("HOME", ".docker/run/docker.sock"),
    ];
    let there = usual.into_iter().flatten().find(|path| path.exists());
    let path = there.unwrap_or_else(|| Path::new("/var/run/docker.sock").to_owned());
    format!("unix://{}", path.display())
}

fn client(address: &str) -> Result<bollard::Docker, bollard::errors::Error> {
    let version = bollard::API_DEFAULT_VERSION;
    match address.strip_prefix("unix://") {
        Some(path) => bollard::Docker::connect_with_unix(path, CALL_TIMEOUT_SECONDS, version),
        None => bollard::Docker::connect_with_http(address, CALL_TIMEOUT_SECONDS, version),
    }
}
