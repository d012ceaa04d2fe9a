//! The server that is measured, by its HTTP API alone.

use std::time::Duration;

use anyhow::{Context, ensure};
use rgrid_api::{Execution, Script, Status, Submission};

pub struct Server {
    url: String,
    agent: ureq::Agent,
}

pub struct Job {
    pub script: &'static str,
    pub network: bool,
    pub requirements: Option<&'static str>,
}

impl Server {
    pub fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(300))).build();
        Self { url: url.to_owned(), agent: config.into() }
    }

    /// Returns when the result is visible to a waiting client.
    pub fn run(&self, job: &Job) -> anyhow::Result<Execution> {
        let id = self.submit(job)?;
        self.wait(&id)
    }

    fn submit(&self, job: &Job) -> anyhow::Result<String> {
        let submission = Submission {
            script: Script { name: "hello.py".to_owned(), content: job.script.to_owned() },
            network: Some(job.network),
            requirements: job.requirements.map(str::to_owned),
            ..Submission::default()
        };
        let mut answer = self
            .agent
            .post(format!("{}/api/v1/executions", self.url))
            .send_json(&submission)
            .with_context(|| format!("no server takes submissions at {}", self.url))?;
        let execution: Execution = answer.body_mut().read_json()?;
        Ok(execution.id)
    }

    fn wait(&self, id: &str) -> anyhow::Result<Execution> {
        loop {
            let url = format!("{}/api/v1/executions/{id}?wait=30", self.url);
            let execution: Execution = self.agent.get(url).call()?.body_mut().read_json()?;
            if execution.status.is_final() {
                let reason = execution.execution_error.clone().unwrap_or_default();
                ensure!(execution.status == Status::Completed, "{id} did not complete: {reason}");
                return Ok(execution);
            }
        }
    }
}
