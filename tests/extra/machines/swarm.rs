//! `compose.yaml` as a stack on a swarm of three machines, with a rolling update under load.
//!
//! Needs the images `rgrid:latest` (`make image`) and `postgres:17` on this host's engine.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::{IMAGES, NAMES};
use crate::support::{Http, Lan, Machine, wait_until};

const PATIENCE: Duration = Duration::from_secs(240);
const SCRIPTS: usize = 60;
const FILES: [&str; 2] = ["compose.yaml", "packaging/swarm.yaml"];

/// Dropped before its machines are switched off, because a swarm restarts removed containers.
struct Swarm {
    lan: Lan,
    /// The engine's socket of each node by node ID; on real machines all have the same path.
    sockets: tempfile::TempDir,
}

impl Swarm {
    fn new() -> Self {
        let lan = Lan::of(&NAMES, &[IMAGES[0], "rgrid:latest"]);
        lan.machine(NAMES[0]).engine.load(&["postgres:17"]);
        let swarm = Self { lan, sockets: tempfile::tempdir().unwrap() };
        let (manager, others) = swarm.lan.machines().split_first().unwrap();
        manager.docker(&["swarm", "init", "--advertise-addr", &manager.address]);
        let token = manager.docker(&["swarm", "join-token", "-q", "worker"]);
        for machine in others {
            let at = format!("{}:2377", manager.address);
            machine.docker(&["swarm", "join", "--advertise-addr", &machine.address, "--token", &token, &at]);
        }
        for machine in swarm.lan.machines() {
            let node = machine.docker(&["info", "-f", "{{.Swarm.NodeID}}"]);
            let socket = machine.engine.folder().join("docker.sock");
            std::os::unix::fs::symlink(socket, swarm.sockets.path().join(node)).unwrap();
        }
        swarm
    }

    fn manager(&self) -> &Machine {
        &self.lan.machines()[0]
    }

    fn deploy(&self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new("docker");
        command.args(["-H", self.manager().engine.host(), "stack", "deploy", "--resolve-image", "never"]);
        for file in FILES {
            command.arg("-c").arg(root.join(file));
        }
        command
            .arg("rgrid")
            .env("DOCKER_SOCKET", format!("{}/{{{{.Node.ID}}}}", self.sockets.path().display()))
            .env("RGRID_IMAGE", "rgrid:latest")
            .env("POSTGRES_IMAGE", "postgres:17")
            .env("RGRID_WORKER_SLOTS", "2");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Running and desired replicas, such as `3/3`.
    fn replicas(&self, service: &str) -> String {
        let filter = format!("name=rgrid_{service}");
        let told =
            self.manager().docker(&["service", "ls", "--filter", &filter, "--format", "{{.Replicas}}"]);
        told.split(' ').next().unwrap_or_default().to_owned()
    }

    /// A client of the API, with a new key.
    fn api(&self) -> Http {
        let on = |machine: &Machine| {
            machine.docker(&["ps", "-q", "--filter", "name=rgrid_api", "--filter", "health=healthy"])
        };
        let (machine, container) = wait_until("the API is there", PATIENCE, || {
            self.lan
                .machines()
                .iter()
                .map(|machine| (machine, on(machine)))
                .find(|(_, container)| !container.is_empty())
        });
        let key = machine
            .docker(&["exec", &container, "rgridd", "keys", "create", "--name", "test", "--scope", "admin"]);
        Http::new(&format!("http://{}:8080", machine.address)).with_key(&key)
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        for machine in self.lan.machines().iter().rev() {
            let leave = ["-H", machine.engine.host(), "swarm", "leave", "--force"];
            let _ = Command::new("docker").args(leave).output();
        }
    }
}

#[test]
fn a_stack_is_updated_under_load_without_losing_an_execution() {
    let swarm = Swarm::new();
    swarm.deploy();
    wait_until("a worker on each node", PATIENCE, || (swarm.replicas("worker") == "3/3").then_some(()));
    let http = swarm.api();
    let first = workers(&http);

    let before: Vec<String> = (0..SCRIPTS).map(|number| submit(&http, number)).collect();
    swarm.manager().docker(&["service", "update", "--detach", "--force", "rgrid_worker"]);
    let during: Vec<String> = (SCRIPTS..SCRIPTS + SCRIPTS / 2).map(|number| submit(&http, number)).collect();
    for (number, id) in before.iter().chain(&during).enumerate() {
        let end = wait(&http, id);
        assert_eq!(
            (end["status"].as_str(), end["stdout"].as_str()),
            (Some("completed"), Some(&*format!("{number}\n"))),
            "{end}"
        );
    }
    wait_until("the update is through", PATIENCE, || {
        let state = ["service", "inspect", "-f", "{{.UpdateStatus.State}}", "rgrid_worker"];
        (swarm.manager().docker(&state) == "completed").then_some(())
    });
    wait_until("a worker on each node", PATIENCE, || (swarm.replicas("worker") == "3/3").then_some(()));
    let last = submit(&http, 0);
    assert_eq!(wait(&http, &last)["status"], "completed");
    let second = workers(&http);
    println!(
        "| nodes | completed during an update | failed | workers before | after |\n| ---: | ---: | ---: | ---: | ---: |"
    );
    println!(
        "| {} | {} | 0 | {} | {} |",
        NAMES.len(),
        before.len() + during.len(),
        first.len(),
        second.len()
    );
    assert_eq!((first.len(), second.len()), (NAMES.len(), NAMES.len()));
    assert!(first.is_disjoint(&second), "all were replaced: {first:?} {second:?}");
}

/// The IDs of the workers that have not stopped.
fn workers(http: &Http) -> HashSet<String> {
    let workers = http.get("/api/v1/workers").json();
    let items = workers["items"].as_array().unwrap().iter();
    items.map(|worker| worker["id"].as_str().unwrap().to_owned()).collect()
}

fn submit(http: &Http, number: usize) -> String {
    let script = format!("import time; time.sleep(1); print({number})");
    http.submit_with(&script, json!({}))
}

fn wait(http: &Http, id: &str) -> Value {
    wait_until("its end", PATIENCE, || {
        let execution = http.get(&format!("/api/v1/executions/{id}?wait=20")).json();
        execution["completed_at"].is_string().then_some(execution)
    })
}
