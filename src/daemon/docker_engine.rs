//! Docker of this worker: reached, and with what every sandbox needs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use slog::{Logger, info, warn};

use crate::execution::WorkerId;
use crate::failpoint;
use crate::http::Readiness;
use crate::sandbox::{Docker, DockerSettings, FirewallState, HolderLimits, ImageId};
use crate::settings::{FirewallMode, NetworkPolicy, Reuse, Settings};
use crate::worker::Backlog;

/// How often Docker is asked whether it lives.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// And while it does not.
const PROBE_AGAIN: Duration = Duration::from_secs(1);
const MEND_EVERY: Duration = Duration::from_secs(60);

/// The engine, and the default image.
pub(crate) async fn reach(
    settings: &Settings,
    cluster: String,
    worker: &WorkerId,
    log: &Logger,
) -> anyhow::Result<(Docker, ImageId)> {
    let identity = docker_settings(settings, cluster.clone(), worker.as_str());
    let docker = Docker::connect(identity, log.clone()).await?;
    let engine = docker.ping().await?;
    // What finds its containers: docker ps --filter label=rgrid.cluster=…
    info!(log, "Docker answers"; "version" => engine.version, "cluster" => cluster);
    docker.check_runtime().await?;
    let table = settings.runtimes();
    let default = table.get(table.default_name()).context("the runtime table has no default")?;
    let image = docker.image(&default.image, default.pull).await?;
    Ok((docker, image))
}

/// What every sandbox needs.
pub(crate) async fn prepare(
    settings: &Settings,
    docker: &Docker,
    image: &ImageId,
    log: &Logger,
) -> anyhow::Result<()> {
    docker.prepare(image).await.context("the init's volume and the sandboxes' network")?;
    let state = fence(settings, docker).await?;
    tell(&state, log);
    if let (FirewallMode::Require, FirewallState::Unverified(reason)) = (settings.sandbox.firewall, &state) {
        bail!("sandbox.firewall is `require`, but {reason}; as root on the Docker host: rgridd firewall");
    }
    Ok(())
}

/// Puts the fence around the sandboxes' network up, unless that is not wanted or there is no network.
async fn fence(settings: &Settings, docker: &Docker) -> anyhow::Result<FirewallState> {
    let sandbox = &settings.sandbox;
    if sandbox.firewall == FirewallMode::Off || sandbox.network == NetworkPolicy::None {
        return Ok(FirewallState::Active);
    }
    let fence = docker.firewall(&sandbox.blocked, &sandbox.host_ports).await?;
    Ok(tokio::task::spawn_blocking(move || fence.apply()).await?)
}

fn tell(state: &FirewallState, log: &Logger) {
    if let FirewallState::Unverified(reason) = state {
        warn!(log, "it can't be ensured that sandboxes do not reach this host and metadata services";
            "reason" => reason, "hint" => "as root on the Docker host: rgridd firewall");
    }
}

pub(crate) fn docker_settings(settings: &Settings, cluster: String, worker: &str) -> DockerSettings {
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    DockerSettings {
        host: given(&settings.docker.host),
        network: settings.sandbox.network_name.clone(),
        runtime: given(&settings.sandbox.runtime),
        pids: i64::from(settings.sandbox.pids),
        cluster,
        worker: worker.to_owned(),
        park_ttl: settings.sandbox.park_ttl.0,
        orphan_ttl: settings.sandbox.orphan_ttl.0,
        reuse: settings.sandbox.reuse == Reuse::SameKey,
        holders: holder_limits(settings),
    }
}

/// What runs in another runtime than runc may have a network stack of its own, which takes the namespace's addresses away.
const RUNTIMES_THAT_JOIN: [&str; 3] = ["", "runc", "crun"];

fn holder_limits(settings: &Settings) -> HolderLimits {
    let sandbox = &settings.sandbox;
    let joins = !sandbox.fresh_network && RUNTIMES_THAT_JOIN.contains(&sandbox.runtime.as_str());
    let ttl = sandbox.park_ttl.0;
    HolderLimits {
        // Each slot has one sandbox that runs, or is being removed, and one that is parked.
        most: if joins { 2 * settings.worker.slots + 1 } else { 0 },
        lend_for: ttl,
        // It is lent to a sandbox that is parked at first, then runs, perhaps many times, then may wait for a daemon.
        lives_for: 2 * ttl
            + sandbox.reuse_max_age.0
            + settings.execution.max_timeout.0
            + sandbox.orphan_ttl.0,
    }
}

/// Keeps the fence up, which somebody may have flushed with other rules; never returns.
pub(crate) async fn mend_fence(settings: Arc<Settings>, docker: Docker, log: Logger) {
    let mut known = None;
    loop {
        tokio::time::sleep(MEND_EVERY).await;
        // A Docker that is away is told by `watch`.
        if let Ok(state) = fence(&settings, &docker).await
            && known.replace(state.clone()).is_some_and(|before| before != state)
        {
            tell(&state, &log);
        }
    }
}

/// Keeps telling readiness how Docker is, and whether results can be stored; never returns.
pub(crate) async fn watch(docker: Docker, readiness: Arc<Readiness>, backlog: Backlog, log: Logger) {
    let mut answered = true;
    loop {
        failpoint::hit("engine.watching").await;
        let waits = |reason| format!("results wait to be stored: {reason}");
        readiness
            .set("recorder", backlog.reason().map_or(Ok("stores what comes".to_owned()), |r| Err(waits(r))));
        let state = docker.ping().await;
        if answered != state.is_ok() {
            answered = state.is_ok();
            match &state {
                Ok(_) => info!(log, "Docker answers again"),
                Err(error) => warn!(log, "Docker does not answer"; "error" => %error),
            }
        }
        readiness.set("docker", state.map(|engine| engine.version).map_err(|error| error.to_string()));
        tokio::time::sleep(if answered { PROBE_EVERY } else { PROBE_AGAIN }).await;
    }
}
