//! What is compared: the same script as a bare process, in `docker run`, and in RGrid.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::server::{Job, Server};

pub const SCRIPT: &str = "print(\"hello\")";
/// Small and pure Python: what is measured is the environment, not the package.
const REQUIREMENTS: &str = "six==1.17.0\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Docker's bridge, or RGrid's own one.
    Bridge,
    None,
}

pub struct Contender<'a> {
    pub name: String,
    how: How<'a>,
}

enum How<'a> {
    Process(PathBuf),
    DockerRun { image: &'a str, network: Network },
    Rgrid { server: &'a Server, job: Job },
}

impl<'a> Contender<'a> {
    /// The interpreter itself: what `python3` finds on PATH may be a wrapper that takes longer than Python.
    pub fn process() -> anyhow::Result<Self> {
        let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
        let path = String::from_utf8(asked.context("there is no python3 to compare with")?.stdout)?;
        Ok(Self { name: "python3 script.py".to_owned(), how: How::Process(path.trim().into()) })
    }

    pub fn docker_run(image: &'a str, network: Network) -> Self {
        Self { name: "docker run --rm".to_owned(), how: How::DockerRun { image, network } }
    }

    pub fn rgrid(name: &str, server: &'a Server, network: Network) -> Self {
        let job = Job { script: SCRIPT, network: network == Network::Bridge, requirements: None };
        Self { name: name.to_owned(), how: How::Rgrid { server, job } }
    }

    /// With an environment that is there already after the first run.
    pub fn rgrid_with_requirements(server: &'a Server) -> Self {
        let job = Job { script: SCRIPT, network: true, requirements: Some(REQUIREMENTS) };
        Self { name: "rgrid, known environment".to_owned(), how: How::Rgrid { server, job } }
    }

    pub fn is_docker_run(&self) -> bool {
        matches!(self.how, How::DockerRun { .. })
    }

    /// Returns when the output is there.
    pub fn run(&self) -> anyhow::Result<()> {
        match &self.how {
            How::Process(python) => output_of(Command::new(python).args(["-c", SCRIPT])),
            How::DockerRun { image, network } => {
                let network = if *network == Network::Bridge { "bridge" } else { "none" };
                let arguments = ["run", "--rm", "--network", network, image, "python3", "-c", SCRIPT];
                output_of(Command::new("docker").args(arguments))
            }
            How::Rgrid { server, job } => {
                let execution = server.run(job)?;
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
