//! Docker of this worker: reached, and with what every sandbox needs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use slog::{Logger, info, warn};

use crate::actors::Backlog;
use crate::execution::WorkerId;
use crate::failpoint;
use crate::http::Readiness;
use crate::sandbox::{Docker, DockerSettings};
use crate::settings::Settings;

/// How often Docker is asked whether it lives.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// And while it does not.
const PROBE_AGAIN: Duration = Duration::from_secs(1);

pub(super) async fn open(
    settings: &Settings,
    cluster: String,
    worker: &WorkerId,
    log: &Logger,
) -> anyhow::Result<Docker> {
    let docker = Docker::connect(docker_settings(settings, cluster, worker.as_str()), log.clone()).await?;
    let engine = docker.ping().await?;
    info!(log, "Docker answers"; "version" => engine.version);
    let table = settings.runtimes();
    let default = table.get(table.default_name()).context("the runtime table has no default")?;
    let image = docker.image(&default.image, default.pull).await?;
    docker.prepare(&image).await.context("the init's volume and the sandboxes' network")?;
    Ok(docker)
}

pub(super) fn docker_settings(settings: &Settings, cluster: String, worker: &str) -> DockerSettings {
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    DockerSettings {
        host: given(&settings.docker.host),
        runtime: given(&settings.sandbox.runtime),
        pids: i64::from(settings.sandbox.pids),
        cluster,
        worker: worker.to_owned(),
        park_ttl: settings.sandbox.park_ttl.0,
        orphan_ttl: settings.sandbox.orphan_ttl.0,
    }
}

/// Keeps telling readiness how Docker is, and whether results can be stored; never returns.
pub(super) async fn watch(docker: Docker, readiness: Arc<Readiness>, backlog: Backlog, log: Logger) {
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
