//! Docker through its command line, as an operator uses it.

use std::process::Command;
use std::time::Duration;

use crate::support::wait_until;

/// Returns the output of `docker ARGS`; panics on failure.
pub fn docker(arguments: &[&str]) -> String {
    try_docker(arguments).unwrap_or_else(|said| panic!("docker {arguments:?}: {said}"))
}

/// Returns the output of `docker ARGS`, or the error, for objects that may be gone.
pub fn try_docker(arguments: &[&str]) -> Result<String, String> {
    let output =
        Command::new("docker").args(arguments).output().expect("no docker command: run `make setup`");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// IDs of all containers of a deployment.
pub fn containers_of(cluster: &str) -> Vec<String> {
    let filter = format!("label=rgrid.cluster={cluster}");
    docker(&["ps", "-aq", "--no-trunc", "--filter", &filter]).lines().map(str::to_owned).collect()
}

/// Simulates the loss of the host.
pub fn remove_containers_of(cluster: &str) {
    wait_until("no container is left", Duration::from_secs(60), || {
        let left = containers_of(cluster);
        // Removing a container that is being removed fails.
        left.iter().for_each(|one| drop(try_docker(&["rm", "-f", one])));
        left.is_empty().then_some(())
    });
}

/// Removes a volume. Docker may consider it in use for a moment longer.
pub fn remove_volume(name: &str) {
    wait_until("the volume can be removed", Duration::from_secs(30), || {
        try_docker(&["volume", "rm", name]).ok()
    });
}

/// IDs of the sandboxes of a deployment.
pub fn sandboxes_of(cluster: &str) -> Vec<String> {
    labelled(cluster, "rgrid.token")
}

/// IDs of the holders of a deployment.
pub fn holders_of(cluster: &str) -> Vec<String> {
    labelled(cluster, "rgrid.holder")
}

fn labelled(cluster: &str, label: &str) -> Vec<String> {
    let (cluster, label) = (format!("label=rgrid.cluster={cluster}"), format!("label={label}"));
    let all = docker(&["ps", "-aq", "--no-trunc", "--filter", &cluster, "--filter", &label]);
    all.lines().map(str::to_owned).collect()
}

/// Creates a file that the script waits for. The sandbox may be gone before `docker exec` returns, so errors are ignored:
/// the test waits for the end of the script.
pub fn touch(container: &str, path: &str) {
    drop(try_docker(&["exec", "--user", "1000", container, "touch", path]));
}

pub fn is_running(container: &str) -> bool {
    docker(&["ps", "-q", "--no-trunc", "--filter", &format!("id={container}")]) == container
}

/// Names of all environment volumes of a deployment, complete or not.
pub fn environments_of(cluster: &str) -> Vec<String> {
    let filter = format!("label=rgrid.cluster={cluster}");
    docker(&["volume", "ls", "-q", "--filter", &filter]).lines().map(str::to_owned).collect()
}
