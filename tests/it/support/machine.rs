//! A Docker engine of a test's own, in a network namespace of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lib/docker-private");

/// Stopped, with all of its containers, when it is dropped.
pub struct PrivateEngine {
    folder: tempfile::TempDir,
    host: String,
}

impl PrivateEngine {
    /// With these images of the machine's engine. Needs root.
    pub fn with_images(images: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("rgd").tempdir_in("/tmp").unwrap();
        let host = script("up", folder.path(), &[]);
        script("load", folder.path(), images);
        Self { folder, host }
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
    // A pipe for stderr would be held open by the engine that goes on.
    let output = Command::new(SCRIPT).arg(action).arg(folder).args(more).stderr(Stdio::inherit()).output();
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
