//! What is compared: the same script as a bare process, in `docker run`, and in RGrid.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::server::Server;

pub const SCRIPT: &str = "print(\"hello\")";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    Process,
    DockerRun,
    Rgrid,
}

impl Contender {
    pub const ALL: [Contender; 3] = [Contender::Process, Contender::DockerRun, Contender::Rgrid];

    pub fn name(self) -> &'static str {
        match self {
            Contender::Process => "python3 script.py",
            Contender::DockerRun => "docker run --rm",
            Contender::Rgrid => "rgrid",
        }
    }

    /// Returns when the output is there.
    pub fn run(self, server: &Server, image: &str, network: bool) -> anyhow::Result<()> {
        match self {
            Contender::Process => output_of(Command::new("python3").args(["-c", SCRIPT])),
            Contender::DockerRun => {
                let network = if network { "bridge" } else { "none" };
                let arguments = ["run", "--rm", "--network", network, image, "python3", "-c", SCRIPT];
                output_of(Command::new("docker").args(arguments))
            }
            Contender::Rgrid => {
                let execution = server.run(SCRIPT, network)?;
                ensure!(execution.stdout.as_deref() == Some("hello\n"), "another output: {execution:?}");
                Ok(())
            }
        }
    }
}

fn output_of(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && output.stdout == b"hello\n", "{command:?}: {said}");
    Ok(())
}
