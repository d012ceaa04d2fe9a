//! Runs the CLI `rgrid` without a terminal.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub struct Cli {
    api_url: String,
    home: tempfile::TempDir,
}

#[derive(Debug)]
pub struct CliOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Cli {
    pub fn new(api_url: &str) -> Self {
        Self { api_url: api_url.to_owned(), home: tempfile::tempdir().unwrap() }
    }

    /// The CLI's working directory, which no other CLI uses.
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .current_dir(self.folder())
            .env("RGRID_API_URL", &self.api_url)
            .env("XDG_CONFIG_HOME", self.folder().join("config"))
            .env("TZ", "UTC")
            .env_remove("RGRID_API_KEY")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> CliOutput {
        let output = self.command(arguments).output().unwrap();
        CliOutput {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command that must succeed and returns its stdout.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.code, 0, "rgrid {arguments:?}: {output:?}");
        output.stdout
    }
}

/// Next to the daemon's binary; `cargo build --workspace` builds both.
fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_rgridd")).with_file_name("rgrid");
    assert!(
        program.is_file(),
        "{} is not built: run `make test`, or `cargo build --workspace`",
        program.display()
    );
    program
}
