//! The contenders: the same script as a plain process, with `docker run`, and with RGrid.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rgrid_api::{Execution, Script, Status, Submission};
use serde::Serialize;

const SCRIPT: &str = "print(\"hello\")";
/// A small pure Python package, so that the environment is measured rather than the package.
const REQUIREMENTS: &str = "six==1.17.0\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Docker's default bridge, or the network of RGrid.
    Bridge,
    None,
}

impl Network {
    /// For titles of tables.
    pub fn description(self) -> &'static str {
        match self {
            Network::Bridge => "with a network",
            Network::None => "without a network",
        }
    }

    /// For names of files and the `--network` option of Docker.
    pub fn name(self) -> &'static str {
        match self {
            Network::Bridge => "bridge",
            Network::None => "none",
        }
    }
}

pub struct Contender<'a> {
    pub name: String,
    method: Method<'a>,
}

enum Method<'a> {
    Process(PathBuf),
    DockerRun { image: &'a str, network: Network },
    Rgrid { server: &'a Server, network: Network, requirements: Option<&'static str> },
}

impl<'a> Contender<'a> {
    /// Resolves the interpreter, because `python3` on PATH may be a slower wrapper.
    pub fn process() -> anyhow::Result<Self> {
        let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
        let path =
            String::from_utf8(output.context("cannot run python3, which RGrid is compared with")?.stdout)?;
        Ok(Self { name: "python3 script.py".to_owned(), method: Method::Process(path.trim().into()) })
    }

    pub fn docker_run(image: &'a str, network: Network) -> Self {
        Self { name: "docker run --rm".to_owned(), method: Method::DockerRun { image, network } }
    }

    pub fn rgrid(name: &str, server: &'a Server, network: Network) -> Self {
        Self { name: name.to_owned(), method: Method::Rgrid { server, network, requirements: None } }
    }

    /// The environment exists after the first run.
    pub fn rgrid_with_requirements(server: &'a Server) -> Self {
        let method = Method::Rgrid { server, network: Network::Bridge, requirements: Some(REQUIREMENTS) };
        Self { name: "rgrid, known environment".to_owned(), method }
    }

    pub fn is_docker_run(&self) -> bool {
        matches!(self.method, Method::DockerRun { .. })
    }

    /// Runs the script once and returns when its output is available.
    pub fn run(&self) -> anyhow::Result<()> {
        match &self.method {
            Method::Process(python) => check_output(Command::new(python).args(["-c", SCRIPT])),
            Method::DockerRun { image, network } => {
                let arguments = ["run", "--rm", "--network", network.name(), image, "python3", "-c", SCRIPT];
                check_output(Command::new("docker").args(arguments))
            }
            Method::Rgrid { server, network, requirements } => {
                let execution = server.run(*network, *requirements)?;
                ensure!(execution.stdout.as_deref() == Some("hello\n"), "unexpected output: {execution:?}");
                Ok(())
            }
        }
    }
}

fn check_output(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && output.stdout == b"hello\n", "{command:?} failed: {stderr}");
    Ok(())
}

/// The server under test, accessed only through its HTTP API.
pub struct Server {
    url: String,
    agent: ureq::Agent,
}

impl Server {
    pub fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(300))).build();
        Self { url: url.to_owned(), agent: config.into() }
    }

    /// Submits the script and waits for its result.
    pub fn run(&self, network: Network, requirements: Option<&str>) -> anyhow::Result<Execution> {
        let submission = Submission {
            script: Script { name: "hello.py".to_owned(), content: SCRIPT.to_owned() },
            network: Some(network == Network::Bridge),
            requirements: requirements.map(str::to_owned),
            ..Submission::default()
        };
        let url = format!("{}/api/v1/executions", self.url);
        let response = self.agent.post(&url).send_json(&submission);
        let mut response = response.with_context(|| format!("cannot submit to {url}"))?;
        let mut execution: Execution = response.body_mut().read_json()?;
        while !execution.status.is_final() {
            let url = format!("{url}/{}?wait=30", execution.id);
            execution = self.agent.get(url).call()?.body_mut().read_json()?;
        }
        let error = execution.execution_error.as_deref().unwrap_or_default();
        ensure!(execution.status == Status::Completed, "{} did not complete: {error}", execution.id);
        Ok(execution)
    }
}
