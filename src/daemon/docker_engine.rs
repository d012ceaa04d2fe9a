//! Connects to Docker and prepares everything that sandboxes need.

use std::sync::Arc;

use anyhow::Context;
use slog::{Logger, info};

use crate::daemon::firewall::{self, FirewallKeeper};
use crate::execution::WorkerId;
use crate::sandbox::{Docker, DockerSettings, HolderLimits, ImageId};
use crate::settings::{Reuse, Settings};

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

/// Prepares what all sandboxes need.
pub(super) async fn prepare(
    settings: &Arc<Settings>,
    docker: &Docker,
    image: &ImageId,
    log: &Logger,
) -> anyhow::Result<Option<FirewallKeeper>> {
    docker
        .infrastructure(image)
        .await
        .context("preparing the init's volume and the sandboxes' network failed")?;
    firewall::set_up(settings, docker, log).await
}

pub(crate) fn docker_settings(settings: &Settings, cluster: String, worker: &str) -> DockerSettings {
    let non_empty = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    DockerSettings {
        host: non_empty(&settings.docker.host),
        network: settings.sandbox.network_name.clone(),
        dns: settings.sandbox.dns.clone(),
        runtime: non_empty(&settings.sandbox.runtime),
        pids: i64::from(settings.sandbox.pids),
        cluster,
        worker: worker.to_owned(),
        park_ttl: settings.sandbox.park_ttl.0,
        orphan_ttl: settings.sandbox.orphan_ttl.0,
        engine_timeout: settings.worker.lease.0,
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
