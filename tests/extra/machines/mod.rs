//! Three machines, each with a Docker engine and a worker; one API and one Postgres.

mod faults;
mod growth;
mod swarm;

use serde_json::json;

use crate::support::{Daemon, DaemonBuilder, Index, Lan, Postgres};

pub const NAMES: [&str; 3] = ["a", "b", "c"];
const IMAGES: [&str; 1] = ["python:3.11-slim"];
pub const SLOTS: usize = 2;

pub struct Deployment {
    pub api: Daemon,
    pub postgres: Postgres,
    pub lan: Lan,
}

impl Deployment {
    /// Starts the API and Postgres, without workers.
    pub fn new() -> Self {
        let lan = Lan::of(&NAMES, &IMAGES);
        let postgres = Postgres::reachable_at(&lan.gateway());
        let api = DaemonBuilder::at(&postgres.url()).role("api").with("RGRID_HTTP__RATE_LIMIT", "0").start();
        Self { api, postgres, lan }
    }

    /// Starts a worker on this machine with the label `machine=NAME`.
    pub fn worker(&self, name: &'static str) -> Daemon {
        let machine = self.lan.machine(name);
        DaemonBuilder::at(&self.postgres.url_at(&self.lan.gateway()))
            .named(name)
            .role("worker")
            .slots(SLOTS)
            .lease("5s")
            .with("RGRID_WORKER__LABELS", &format!("machine={name}"))
            .with("RGRID_DOCKER__HOST", machine.engine.host())
            .inside(&machine.namespace())
            .start()
    }
}

#[test]
fn each_machine_gets_the_environments_and_files_that_it_needs() {
    let deployment = Deployment::new();
    let workers: Vec<Daemon> = NAMES.into_iter().map(|name| deployment.worker(name)).collect();
    let http = deployment.api.http();
    let index = Index::new().with_module("hello", "1.0");
    let run = |name: &str| {
        let id = http.submit_with(
            "import hello; print(hello.VERSION, open('data.txt').read())",
            json!({
                "requirements": index.requirements("hello==1.0"),
                "files": [{ "name": "data.txt", "content_base64": "Zm9ydHktdHdv" }],
                "on": { "machine": name },
            }),
        );
        let end = http.wait(&id);
        let said = (end["stdout"].as_str(), end["worker"].as_str());
        assert_eq!(said, (Some("1.0 forty-two\n"), Some(name)), "{end}");
        http.get(&format!("/api/v1/executions/{id}/logs?stream=install")).body
    };
    for name in NAMES {
        assert!(run(name).contains("Successfully installed hello-1.0"), "each machine installs once");
        assert!(!run(name).contains("Successfully installed"), "and the next run there finds it");
    }
    // All machines share one blob; each engine has its own environment.
    let contents = "SELECT count(*) FROM blobs WHERE content = 'forty-two'";
    assert_eq!(deployment.postgres.number(contents), 1);
    assert_eq!(deployment.postgres.number("SELECT count(DISTINCT engine) FROM environments"), 3);
    for worker in workers {
        assert_eq!(worker.stop(), 0);
    }
}
