//! The name of a worker that runs in a container.

use std::path::Path;
use std::sync::Arc;

use slog::{Discard, Logger, o};

use crate::daemon::docker_engine;
use crate::sandbox::Docker;
use crate::settings::Settings;

/// In a container, the default hostname is the container's ID, which changes with every container. The Docker host's
/// name replaces it, because a worker's name must be stable.
pub(crate) async fn with_a_stable_name(settings: &Arc<Settings>) -> Arc<Settings> {
    if !(is_container_id(&settings.worker.name) && Path::new("/.dockerenv").exists()) {
        return Arc::clone(settings);
    }
    // If Docker does not respond, the start fails a moment later and reports the reason.
    let Some(name) = name_of_docker_host(settings).await else { return Arc::clone(settings) };
    let mut named = Settings::clone(settings);
    named.worker.name = name;
    Arc::new(named)
}

async fn name_of_docker_host(settings: &Settings) -> Option<String> {
    let identity = docker_engine::docker_settings(settings, "naming".to_owned(), "naming");
    let docker = Docker::connect(identity, Logger::root(Discard, o!())).await.ok()?;
    docker.host_name().await.ok().filter(|name| !name.is_empty())
}

fn is_container_id(name: &str) -> bool {
    name.len() == 12 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_container_id_is_replaced() {
        assert!(is_container_id("3f2a90cc81de"));
        for name in ["host-a", "worker", "3f2a90cc81d", "3F2A90CC81DE", "node-3f2a90cc"] {
            assert!(!is_container_id(name), "{name}");
        }
    }
}
