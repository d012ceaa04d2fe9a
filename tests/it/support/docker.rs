//! Docker as an operator sees it: through its own command.

use std::process::Command;
use std::time::Duration;

use crate::support::wait_until;

/// What `docker ARGS` prints; panics when it fails.
pub fn docker(arguments: &[&str]) -> String {
    try_docker(arguments).unwrap_or_else(|said| panic!("docker {arguments:?}: {said}"))
}

/// What `docker ARGS` prints, or why it fails: for what may be gone.
pub fn try_docker(arguments: &[&str]) -> Result<String, String> {
    let output =
        Command::new("docker").args(arguments).output().expect("no docker command: run `make setup`");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Ids of all containers of a deployment.
pub fn containers_of(cluster: &str) -> Vec<String> {
    let filter = format!("label=rgrid.cluster={cluster}");
    docker(&["ps", "-aq", "--no-trunc", "--filter", &filter]).lines().map(str::to_owned).collect()
}

/// The host is gone, and with it all that ran there.
pub fn remove_containers_of(cluster: &str) {
    wait_until("no container is left", Duration::from_secs(60), || {
        let left = containers_of(cluster);
        // Some may be on their way out already, which Docker calls a failure.
        left.iter().for_each(|one| drop(try_docker(&["rm", "-f", one])));
        left.is_empty().then_some(())
    });
}

/// Removes a volume, of which Docker may think for a moment longer that somebody uses it.
pub fn remove_volume(name: &str) {
    wait_until("the volume can be removed", Duration::from_secs(30), || {
        try_docker(&["volume", "rm", name]).ok()
    });
}

/// Those of them that run scripts, or wait for one.
pub fn sandboxes_of(cluster: &str) -> Vec<String> {
    labelled(cluster, "rgrid.token")
}

/// Those of them that hold a network for sandboxes.
pub fn holders_of(cluster: &str) -> Vec<String> {
    labelled(cluster, "rgrid.holder")
}

fn labelled(cluster: &str, label: &str) -> Vec<String> {
    let (cluster, label) = (format!("label=rgrid.cluster={cluster}"), format!("label={label}"));
    let all = docker(&["ps", "-aq", "--no-trunc", "--filter", &cluster, "--filter", &label]);
    all.lines().map(str::to_owned).collect()
}

/// Makes a file in a sandbox, for whose sight its script ends. The sandbox may then be gone before `docker exec` has
/// its answer, so a failure is not one here: whoever waits for the end sees whether it came.
pub fn touch(container: &str, path: &str) {
    drop(try_docker(&["exec", "--user", "1000", container, "touch", path]));
}

pub fn is_running(container: &str) -> bool {
    docker(&["ps", "-q", "--no-trunc", "--filter", &format!("id={container}")]) == container
}

/// Names of all volumes of a deployment in which requirements are installed, whole or not.
pub fn environments_of(cluster: &str) -> Vec<String> {
    let filter = format!("label=rgrid.cluster={cluster}");
    docker(&["volume", "ls", "-q", "--filter", &filter]).lines().map(str::to_owned).collect()
}
