//! A Docker engine of a test's own, in a network namespace of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::MemoryCgroup;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lib/docker-private");

/// Stopped, with all of its containers, when it is dropped.
pub struct PrivateEngine {
    folder: tempfile::TempDir,
    host: String,
}

impl PrivateEngine {
    /// With these images of the machine's engine. Needs root.
    pub fn with_images(images: &[&str]) -> Self {
        Self::start(Command::new(SCRIPT), &[], images)
    }

    /// The same with all of its processes and containers in a cgroup.
    pub fn in_cgroup(cgroup: &MemoryCgroup, images: &[&str]) -> Self {
        let parent = cgroup.of_containers();
        // A cgroup below systemd has another form.
        let options = ["--cgroup-parent", &parent, "--exec-opt", "native.cgroupdriver=cgroupfs"];
        Self::start(cgroup.command(SCRIPT), &options, images)
    }

    fn start(up: Command, options: &[&str], images: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("rgd").tempdir_in("/tmp").unwrap();
        let host = run(up, "up", folder.path(), options);
        script("load", folder.path(), images);
        Self { folder, host }
    }

    /// More images of the machine's engine.
    pub fn load(&self, images: &[&str]) {
        script("load", self.folder.path(), images);
    }

    /// For `DOCKER_HOST`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Runs a program beside it: with its network in place of the machine's.
    pub fn beside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace().display())).arg(program);
        command
    }

    /// The same for a line of shell, which must succeed.
    pub fn shell(&self, line: &str) {
        let output = self.beside("sh").args(["-ec", line]).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn namespace(&self) -> PathBuf {
        self.folder.path().join("netns")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// SIGKILL of dockerd. Its containers survive until it starts again.
    pub fn kill(&self) {
        script("kill", self.folder.path(), &[]);
    }

    /// Starts it unless it runs.
    pub fn revive(&self) {
        script("up", self.folder.path(), &[]);
    }

    /// The engine is gone, with all of its containers.
    pub fn switch_off(&self) {
        script("down", self.folder.path(), &[]);
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        let _ = Command::new(SCRIPT).arg("down").arg(self.folder.path()).stderr(Stdio::null()).status();
    }
}

fn script(action: &str, folder: &Path, more: &[&str]) -> String {
    run(Command::new(SCRIPT), action, folder, more)
}

fn run(mut command: Command, action: &str, folder: &Path, more: &[&str]) -> String {
    // A pipe for stderr would be held open by the engine that goes on.
    let output = command.arg(action).arg(folder).args(more).stderr(Stdio::inherit()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "docker-private {action} failed: it needs root");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A process that ends with the test.
pub struct Background(pub Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
