//! The server under test, accessed only through its HTTP API.

use std::time::Duration;

use anyhow::{Context, ensure};
use rgrid_api::{Execution, Script, Status, Submission};

use crate::contender::{Network, SCRIPT};

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
