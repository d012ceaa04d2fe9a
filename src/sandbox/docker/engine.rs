//! The Docker engine of this worker: connection, health, diagnostics, and the containers of this deployment.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bollard::errors::Error as BollardError;
use bollard::models::{ContainerCreateBody, ContainerSummary, SystemInfo};
use bollard::query_parameters::{
    CreateContainerOptions, EventsOptions, InspectContainerOptions, ListContainersOptions,
    StartContainerOptions,
};
use futures_util::StreamExt;
use slog::Logger;
use tokio::sync::{Mutex, OnceCell};

use crate::metrics::docker_call;
use crate::sandbox::error::{CALL_TIMEOUT_SECONDS, is_missing, with_timeout};
use crate::sandbox::{
    DockerError, EnvironmentBuild, HolderLimits, ImageId, NetworkMode, Profile, SandboxError,
    docker::images::Images, network::holders::Holders, reaper::Reaper, reaper::RemovalRequest,
    start_limiter::StartLimiter,
};

const PING_TIMEOUT: Duration = Duration::from_secs(5);
const WATCH_AGAIN_AFTER: Duration = Duration::from_millis(200);

pub(crate) const CLUSTER_LABEL: &str = "rgrid.cluster";
pub(crate) const WORKER_LABEL: &str = "rgrid.worker";
pub(crate) const TOKEN_LABEL: &str = "rgrid.token";
/// Marks a holder; the value is its network mode.
pub(crate) const HOLDER_LABEL: &str = "rgrid.holder";

/// Settings that all sandboxes of a worker share.
#[derive(Debug, Clone)]
pub struct DockerSettings {
    /// `None`: `DOCKER_HOST`, then the usual sockets.
    pub host: Option<String>,
    /// Name of the bridge network.
    pub network: String,
    /// Name servers of sandboxes; empty: Docker's default.
    pub dns: Vec<Ipv4Addr>,
    /// A runtime such as `runsc`; `None`: Docker's default.
    pub runtime: Option<String>,
    /// Maximum number of processes and threads of a sandbox.
    pub pids: i64,
    /// ID of this deployment.
    pub cluster: String,
    /// ID of this worker.
    pub worker: String,
    pub park_ttl: Duration,
    pub orphan_ttl: Duration,
    /// How long a sandbox waits for an engine that is lost.
    pub engine_timeout: Duration,
    /// Whether a sandbox may run several jobs.
    pub reuse: bool,
    pub holders: HolderLimits,
}

/// What `rgridd doctor` reports about the engine. Each problem includes its fix.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    pub summary: String,
    pub problems: Vec<String>,
}

/// A container of this deployment; any worker may have created it.
#[derive(Debug, Clone)]
pub struct ManagedContainer {
    pub container: String,
    /// ID of the worker that created it.
    pub worker: String,
    pub token: String,
    pub running: bool,
    /// The environment that it builds, if it is a builder.
    pub builds: Option<EnvironmentBuild>,
    pub is_holder: bool,
    /// The holder whose network namespace it joined.
    pub joined: Option<String>,
}

/// Objects that every sandbox needs. They are created on first use, and looked up again after a start failed, because
/// an operator may have pruned them.
#[derive(Debug, Clone)]
pub(crate) struct Infrastructure {
    pub init_volume: String,
    /// ID of the bridge network.
    pub bridge: String,
}

/// A handle to the engine; cheap to clone.
#[derive(Clone)]
pub struct Docker {
    pub(crate) api: bollard::Docker,
    pub(crate) address: Arc<str>,
    pub(crate) settings: Arc<DockerSettings>,
    pub(crate) images: Arc<Images>,
    /// Locked while it is created, so that concurrent starts create it once.
    infrastructure: Arc<Mutex<Option<Infrastructure>>>,
    pub(crate) reaper: Reaper,
    pub(crate) holders: Holders,
    pub(crate) start_limiter: StartLimiter,
    engine_id: Arc<OnceCell<String>>,
    /// How often the connection of [`Docker::watch_engine`] broke.
    losses: Arc<AtomicU64>,
    pub(crate) log: Logger,
}

impl Docker {
    /// Connects and negotiates the API version. Must be called within the async runtime.
    pub async fn connect(settings: DockerSettings, log: Logger) -> Result<Self, DockerError> {
        let address = address(settings.host.as_deref());
        let failed = |error: BollardError| unreachable(&address, error.to_string());
        let api = client(&address).map_err(failed)?;
        let negotiated = tokio::time::timeout(PING_TIMEOUT, api.negotiate_version()).await;
        let api = negotiated.map_err(|_| no_answer(&address))?.map_err(failed)?;
        let reaper = Reaper::new(api.clone(), log.clone());
        let holders = Holders::new(settings.holders, reaper.clone());
        Ok(Self {
            api,
            address: address.into(),
            settings: Arc::new(settings),
            images: Arc::default(),
            infrastructure: Arc::default(),
            reaper,
            holders,
            start_limiter: StartLimiter::default(),
            engine_id: Arc::default(),
            losses: Arc::default(),
            log,
        })
    }

    /// Checks within seconds that the engine answers, and returns its version.
    pub async fn ping(&self) -> Result<String, DockerError> {
        let answer = tokio::time::timeout(PING_TIMEOUT, docker_call("version", self.api.version())).await;
        let version = answer
            .map_err(|_| no_answer(&self.address))?
            .map_err(|error| self.failed("report its version", error))?;
        Ok(version.version.unwrap_or_else(|| "unknown".to_owned()))
    }

    pub(crate) fn engine_losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    /// Holds a connection on which the engine sends nothing, and counts how often it breaks. Otherwise, an engine that
    /// restarts quickly, or whose socket systemd keeps open, would look as if somebody had killed its containers. Never
    /// returns.
    pub async fn watch_engine(&self) {
        let filters = HashMap::from([("type".to_owned(), vec!["daemon".to_owned()])]);
        let options = EventsOptions { filters: Some(filters), ..Default::default() };
        loop {
            let mut events = self.api.events(Some(options.clone()));
            while let Some(Ok(_)) = events.next().await {}
            self.losses.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(WATCH_AGAIN_AFTER).await;
        }
    }

    async fn info(&self) -> Result<SystemInfo, DockerError> {
        self.call("report its configuration", self.api.info()).await
    }

    /// Checks that the engine has the configured runtime.
    pub async fn check_runtime(&self) -> Result<(), DockerError> {
        let Some(wanted) = &self.settings.runtime else { return Ok(()) };
        let mut known: Vec<String> = self.info().await?.runtimes.unwrap_or_default().into_keys().collect();
        known.sort_unstable();
        if known.contains(wanted) {
            return Ok(());
        }
        Err(DockerError::UnknownRuntime { wanted: wanted.clone(), known: known.join(", ") })
    }

    /// The host name of the engine's machine.
    pub async fn host_name(&self) -> Result<String, DockerError> {
        Ok(self.info().await?.name.unwrap_or_default())
    }

    /// Identifies the engine. Volumes and images belong to one engine.
    pub async fn engine_id(&self) -> Result<String, DockerError> {
        let id = self.engine_id.get_or_try_init(async || {
            let id = self.info().await?.id;
            Ok(id.filter(|id| !id.is_empty()).unwrap_or_else(|| self.address.to_string()))
        });
        id.await.cloned()
    }

    /// Checks what sandboxes need from the engine and its kernel.
    pub async fn diagnose(&self) -> Result<Diagnostics, DockerError> {
        let info = self.info().await?;
        let features = [
            (info.memory_limit, "the kernel does not limit memory: boot it with cgroup_enable=memory"),
            (info.swap_limit, "the kernel does not limit swap: boot it with swapaccount=1 or turn swap off"),
            (info.pids_limit, "the kernel does not limit processes: use a newer kernel"),
            (info.cpu_cfs_quota, "the kernel does not limit CPU time: use one with CONFIG_CFS_BANDWIDTH"),
            (info.ipv4_forwarding, "containers cannot reach the network: sysctl -w net.ipv4.ip_forward=1"),
        ];
        let missing = features.into_iter().filter(|(available, _)| *available == Some(false));
        let mut problems: Vec<String> = missing.map(|(_, problem)| problem.to_owned()).collect();
        if let Err(error) = self.check_runtime().await {
            problems.push(error.to_string());
        }
        let security = info.security_options.unwrap_or_default();
        if !security.iter().any(|option| option.contains("seccomp")) {
            problems
                .push("Docker runs without seccomp: use a kernel and a Docker that support it".to_owned());
        }
        let driver = info.driver.unwrap_or_else(|| "unknown".to_owned());
        let cgroup = info.cgroup_version.map_or_else(|| "unknown".to_owned(), |version| version.to_string());
        Ok(Diagnostics { summary: format!("storage {driver}, cgroup v{cgroup}"), problems })
    }

    /// Creates a sandbox, waits for the handshake and removes it; returns how long the start took.
    pub async fn test_sandbox(&self, image: &ImageId, memory_bytes: u64) -> Result<Duration, DockerError> {
        self.infrastructure(image).await?;
        let profile = Profile {
            image: image.clone(),
            memory_bytes,
            cpus_milli: 1000,
            network: NetworkMode::Internet,
            environment: None,
        };
        let started = Instant::now();
        let sandbox = self.create_sandbox(&profile).await?;
        let took = started.elapsed();
        drop(sandbox);
        self.reaper.finished().await;
        Ok(took)
    }

    /// Creates the shared infrastructure if necessary. `image` is any local image.
    pub(crate) async fn infrastructure(&self, image: &str) -> Result<Infrastructure, DockerError> {
        let mut cached = self.infrastructure.lock().await;
        if let Some(infrastructure) = cached.as_ref() {
            return Ok(infrastructure.clone());
        }
        let (init_volume, bridge) = (self.install_init(image).await?, self.bridge().await?);
        Ok(cached.insert(Infrastructure { init_volume, bridge }).clone())
    }

    /// Drops what is cached about images, the init volume and the network: any of them may have been removed.
    pub(crate) async fn invalidate_caches(&self) {
        self.images.forget();
        *self.infrastructure.lock().await = None;
    }

    /// All containers of this deployment on this engine.
    pub async fn list_containers(&self) -> Result<Vec<ManagedContainer>, DockerError> {
        let filter = format!("{CLUSTER_LABEL}={}", self.settings.cluster);
        let filters = HashMap::from([("label".to_owned(), vec![filter])]);
        let containers = self.all_containers(Some(filters)).await?;
        Ok(containers.into_iter().filter_map(ManagedContainer::from_summary).collect())
    }

    /// Running or not.
    pub(crate) async fn all_containers(
        &self,
        filters: Option<HashMap<String, Vec<String>>>,
    ) -> Result<Vec<ContainerSummary>, DockerError> {
        let options = ListContainersOptions { all: true, filters, ..Default::default() };
        self.call("list containers", self.api.list_containers(Some(options))).await
    }

    /// Returns the new container's ID.
    pub(crate) async fn create_container(
        &self,
        name: Option<String>,
        body: ContainerCreateBody,
    ) -> Result<String, BollardError> {
        let options = CreateContainerOptions { name, ..Default::default() };
        Ok(with_timeout(self.api.create_container(Some(options), body)).await?.id)
    }

    pub(crate) async fn start_container(&self, container: &str) -> Result<(), BollardError> {
        with_timeout(self.api.start_container(container, None::<StartContainerOptions>)).await
    }

    /// Removes a container that no worker owns any more, and the holder that it joined.
    pub fn remove(&self, container: &ManagedContainer) {
        let lodging = self.holders.inherited(container.joined.clone());
        let request = RemovalRequest::container(container.container.clone());
        self.reaper.remove(RemovalRequest { lodging: Some(lodging), ..request });
    }

    /// How a container ended according to Docker; `None` while it runs.
    pub(crate) async fn exit_state(&self, container: &str) -> Result<Option<SandboxError>, DockerError> {
        let inspect = self.api.inspect_container(container, None::<InspectContainerOptions>);
        let inspected = self.find("inspect a container", inspect).await?;
        let state = inspected.and_then(|inspected| inspected.state).unwrap_or_default();
        let oom_killed = state.oom_killed == Some(true);
        let gone = SandboxError::Gone { exit_code: state.exit_code, oom_killed };
        Ok((state.running != Some(true)).then_some(gone))
    }

    /// Like [`Docker::call`], but `None` if the object does not exist.
    pub(crate) async fn find<T>(
        &self,
        action: &'static str,
        call: impl Future<Output = Result<T, BollardError>>,
    ) -> Result<Option<T>, DockerError> {
        match with_timeout(call).await {
            Err(error) if is_missing(&error) => Ok(None),
            result => result.map(Some).map_err(|error| self.failed(action, error)),
        }
    }

    /// Runs a call with the usual deadline. `action` completes "Docker failed to …".
    pub(crate) async fn call<T>(
        &self,
        action: &'static str,
        call: impl Future<Output = Result<T, BollardError>>,
    ) -> Result<T, DockerError> {
        with_timeout(call).await.map_err(|error| self.failed(action, error))
    }

    pub(crate) fn failed(&self, action: &'static str, error: bollard::errors::Error) -> DockerError {
        match error {
            BollardError::DockerResponseServerError { message: reason, .. } => {
                DockerError::Refused { action, reason }
            }
            other => unreachable(&self.address, other.to_string()),
        }
    }
}

impl ManagedContainer {
    fn from_summary(summary: ContainerSummary) -> Option<Self> {
        let labels = summary.labels.unwrap_or_default();
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let state = summary.state.map(|state| state.to_string());
        let mode = summary.host_config.and_then(|config| config.network_mode);
        Some(Self {
            container: summary.id?,
            worker: label(WORKER_LABEL),
            token: label(TOKEN_LABEL),
            running: matches!(state.as_deref(), Some("running" | "paused")),
            builds: EnvironmentBuild::from_labels(&labels),
            is_holder: labels.contains_key(HOLDER_LABEL),
            joined: mode.and_then(|mode| mode.strip_prefix("container:").map(str::to_owned)),
        })
    }
}

impl Infrastructure {
    /// The name by which Docker knows the network.
    pub fn network(&self, mode: NetworkMode) -> &str {
        match mode {
            NetworkMode::Internet => &self.bridge,
            NetworkMode::None => "none",
        }
    }
}

impl DockerSettings {
    /// The labels of every container of this worker.
    pub(crate) fn labels<const N: usize>(&self, more: [(&str, &str); N]) -> HashMap<String, String> {
        let own = [(CLUSTER_LABEL, self.cluster.as_str()), (WORKER_LABEL, self.worker.as_str())];
        own.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The configured name servers of a container with a network of its own.
    pub(crate) fn dns(&self, network: NetworkMode) -> Option<Vec<String>> {
        let needed = network == NetworkMode::Internet && !self.dns.is_empty();
        needed.then(|| self.dns.iter().map(Ipv4Addr::to_string).collect())
    }
}

fn no_answer(address: &str) -> DockerError {
    unreachable(address, format!("no answer within {}s", PING_TIMEOUT.as_secs()))
}

fn unreachable(address: &str, reason: String) -> DockerError {
    DockerError::Unreachable { address: address.to_owned(), reason }
}

/// The configured address, `DOCKER_HOST`, or the first of the usual sockets that exists.
fn address(configured: Option<&str>) -> String {
    let from_env = || std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
    if let Some(host) = configured.map(str::to_owned).or_else(from_env) {
        return host;
    }
    let below =
        |variable: &str, rest: &str| std::env::var_os(variable).map(|base| PathBuf::from(base).join(rest));
    let candidates = [
        Some(PathBuf::from("/var/run/docker.sock")),
        below("XDG_RUNTIME_DIR", "docker.sock"),
        below("HOME", ".docker/run/docker.sock"),
    ];
    let existing = candidates.into_iter().flatten().find(|path| path.exists());
    let path = existing.unwrap_or_else(|| PathBuf::from("/var/run/docker.sock"));
    format!("unix://{}", path.display())
}

fn client(address: &str) -> Result<bollard::Docker, BollardError> {
    let version = bollard::API_DEFAULT_VERSION;
    match address.strip_prefix("unix://") {
        Some(path) => bollard::Docker::connect_with_unix(path, CALL_TIMEOUT_SECONDS, version),
        None => bollard::Docker::connect_with_http(address, CALL_TIMEOUT_SECONDS, version),
    }
}
