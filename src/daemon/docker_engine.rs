//! Connects to Docker and prepares everything that sandboxes need.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use slog::{Logger, info, warn};

use crate::execution::WorkerId;
use crate::sandbox::{Docker, DockerSettings, HolderLimits, ImageId};
use crate::settings::{FirewallMode, NetworkPolicy, Reuse, Settings};
use crate::worker::Worker;

const FIREWALL_CHECK_EVERY: Duration = Duration::from_secs(60);

/// Returns the engine and the default image.
pub(super) async fn connect(
    settings: &Settings,
    cluster: String,
    worker: &WorkerId,
    log: &Logger,
) -> anyhow::Result<(Docker, ImageId)> {
    let identity = docker_settings(settings, cluster.clone(), worker.as_str());
    let docker = Docker::connect(identity, log.clone()).await?;
    let version = docker.ping().await?;
    // The cluster is the label of its containers: docker ps --filter label=rgrid.cluster=…
    info!(log, "connected to Docker"; "version" => version, "cluster" => cluster);
    docker.check_runtime().await?;
    let table = settings.runtimes();
    let default = table.get(table.default_name()).context("the runtime table has no default runtime")?;
    let image = docker.image(&default.image, default.pull).await?;
    Ok((docker, image))
}

pub(super) async fn prepare(
    settings: &Settings,
    docker: &Docker,
    image: &ImageId,
    log: &Logger,
) -> anyhow::Result<()> {
    docker
        .infrastructure(image)
        .await
        .context("preparing the init's volume and the sandboxes' network failed")?;
    let state = apply_firewall(settings, docker).await?;
    warn_if_unverified(&state, log);
    if let (FirewallMode::Require, Err(reason)) = (settings.sandbox.firewall, &state) {
        bail!("sandbox.firewall is `require`, but {reason}; as root on the Docker host: rgridd firewall");
    }
    Ok(())
}

/// Applies the firewall rules, unless they are disabled or sandboxes have no network.
async fn apply_firewall(settings: &Settings, docker: &Docker) -> anyhow::Result<Result<(), String>> {
    let sandbox = &settings.sandbox;
    if sandbox.firewall == FirewallMode::Off || sandbox.network == NetworkPolicy::None {
        return Ok(Ok(()));
    }
    let firewall = docker.firewall(&sandbox.blocked, &sandbox.host_ports).await?;
    Ok(tokio::task::spawn_blocking(move || firewall.apply().map(drop)).await?)
}

fn warn_if_unverified(state: &Result<(), String>, log: &Logger) {
    if let Err(reason) = state {
        warn!(log, "cannot verify that the firewall keeps sandboxes from this host and from metadata services";
            "reason" => reason, "hint" => "run `rgridd firewall` as root on the Docker host");
    }
}

pub(crate) fn docker_settings(settings: &Settings, cluster: String, worker: &str) -> DockerSettings {
    let non_empty = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    DockerSettings {
        host: non_empty(&settings.docker.host),
        network: settings.sandbox.network_name.clone(),
        runtime: non_empty(&settings.sandbox.runtime),
        pids: i64::from(settings.sandbox.pids),
        cluster,
        worker: worker.to_owned(),
        park_ttl: settings.sandbox.park_ttl.0,
        orphan_ttl: settings.sandbox.orphan_ttl.0,
        reuse: settings.sandbox.reuse == Reuse::SameKey,
        holders: holder_limits(settings),
    }
}

/// Other runtimes may have a network stack of their own, which removes the addresses of a joined namespace.
const RUNTIMES_THAT_JOIN: [&str; 3] = ["", "runc", "crun"];

fn holder_limits(settings: &Settings) -> HolderLimits {
    let sandbox = &settings.sandbox;
    let joins = !sandbox.fresh_network && RUNTIMES_THAT_JOIN.contains(&sandbox.runtime.as_str());
    let ttl = sandbox.park_ttl.0;
    HolderLimits {
        // Each slot has one sandbox that is running or being removed, and one that is parked.
        most: if joins { 2 * settings.worker.slots + 1 } else { 0 },
        lend_for: ttl,
        // A sandbox that joined it may be parked, run several times, and wait for a daemon.
        lives_for: 2 * ttl
            + sandbox.reuse_max_age.0
            + settings.execution.max_timeout.0
            + sandbox.orphan_ttl.0,
    }
}

/// Applies the firewall rules again in case they were flushed. Never returns.
pub(super) async fn keep_firewall(worker: Arc<Worker>, log: Logger) {
    let mut known = None;
    loop {
        tokio::time::sleep(FIREWALL_CHECK_EVERY).await;
        // `health::check` reports that Docker does not respond.
        if let Ok(state) = apply_firewall(&worker.settings, &worker.docker).await
            && known.replace(state.clone()).is_some_and(|before| before != state)
        {
            warn_if_unverified(&state, &log);
        }
    }
}
