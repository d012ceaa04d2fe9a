//! A Docker engine of the tests' own, to be killed and stopped. One for all of them, one at a time: it takes seconds.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::support::wait_until;

static ENGINE: Mutex<Option<Running>> = Mutex::new(None);

struct Running {
    folder: PathBuf,
}

/// The engine, for one test; dropping it leaves it running for the next.
pub struct Engine {
    running: MutexGuard<'static, Option<Running>>,
}

impl Engine {
    pub fn take() -> Self {
        let mut running = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() {
            clear_up_at_exit();
            let folder = PathBuf::from(format!("/tmp/rgrid-engine-{}", std::process::id()));
            script("up", &folder, &[]);
            script("load", &folder, &["python:3.11-slim"]);
            *running = Some(Running { folder });
        }
        let engine = Self { running };
        engine.revive();
        engine
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.folder().join("docker.sock").display())
    }

    /// What `docker ARGS` prints there.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let host = self.host();
        crate::support::docker(&[&["-H", &host], arguments].concat())
    }

    pub fn containers_of(&self, cluster: &str) -> Vec<String> {
        let filter = format!("label=rgrid.cluster={cluster}");
        self.docker(&["ps", "-aq", "--filter", &filter]).lines().map(str::to_owned).collect()
    }

    /// What dockerd has logged.
    pub fn log(&self) -> PathBuf {
        self.folder().join("dockerd.log")
    }

    /// SIGKILL of dockerd.
    pub fn kill(&self) {
        script("kill", self.folder(), &[]);
    }

    /// Starts it unless it runs.
    pub fn revive(&self) {
        script("up", self.folder(), &[]);
    }

    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.folder().join("docker.pid")).unwrap();
        assert!(Command::new("kill").args([signal, pid.trim()]).status().unwrap().success());
    }

    fn folder(&self) -> &Path {
        &self.running.as_ref().unwrap().folder
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // A test that failed in between must not leave it frozen.
        let pid = std::fs::read_to_string(self.folder().join("docker.pid")).unwrap_or_default();
        let _ = Command::new("kill").args(["-CONT", pid.trim()]).stderr(std::process::Stdio::null()).status();
    }
}

/// Statics are not dropped, so a process of its own waits for the end of this one.
#[allow(clippy::zombie_processes, reason = "it outlives this one")]
fn clear_up_at_exit() {
    let id = std::process::id();
    let folder = format!("/tmp/rgrid-engine-{id}");
    // Behind a shell that ends at once, so that nobody has to wait for it.
    let waiting = format!(
        "while kill -0 {id} 2>/dev/null; do sleep 0.5; done; scripts/lib/docker-private down {folder}; rm -rf {folder}"
    );
    let mut command = Command::new("bash");
    command.args(["-c", "setsid bash -c \"$0\" &", &waiting]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let nothing = std::process::Stdio::null;
    command.stdin(nothing()).stdout(nothing()).stderr(nothing());
    assert!(command.status().unwrap().success());
}

fn script(action: &str, folder: &Path, more: &[&str]) {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lib/docker-private"));
    let output = tempfile::tempfile().unwrap();
    command.arg(action).arg(folder).args(more).stdin(std::process::Stdio::null());
    command.stdout(output.try_clone().unwrap()).stderr(output);
    let mut child = command.spawn().unwrap();
    let ended =
        wait_until("the private engine obeys", Duration::from_secs(120), || child.try_wait().unwrap());
    assert!(ended.success(), "docker-private {action} {}: {ended}", folder.display());
}
