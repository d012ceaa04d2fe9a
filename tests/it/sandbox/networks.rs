//! Two networks with the same name: Docker creates them for concurrent requests, and then starts no container in either.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use crate::support::{Daemon, DaemonBuilder, Database, docker, try_docker};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A unique network name; dropping it removes its networks.
struct Name {
    name: String,
    users: Vec<String>,
}

impl Name {
    fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("rgrid-test-{}-{number}", std::process::id()), users: Vec::new() }
    }

    /// Creates it as a daemon does. Returns false if this version of Docker refuses a second one.
    fn create(&self) -> bool {
        let body =
            json!({ "Name": self.name, "Driver": "bridge", "Labels": { "rgrid.network": "internet" } });
        let body = body.to_string();
        let host = std::env::var("DOCKER_HOST").unwrap_or("unix:///var/run/docker.sock".to_owned());
        let mut socket = UnixStream::connect(host.strip_prefix("unix://").unwrap()).unwrap();
        let head = "POST /networks/create HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json";
        write!(socket, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap();
        assert!(["201", "409"].contains(&status), "{answer}");
        status == "201"
    }

    /// Starts a container in the network.
    fn use_network(&mut self, network: &str) {
        let user = docker(&["run", "-d", "--entrypoint", "sleep", "python:3.11-slim", "600"]);
        self.users.push(user.clone());
        docker(&["network", "connect", network, &user]);
    }

    fn ids(&self) -> Vec<String> {
        let filter = format!("name=^{}$", self.name);
        let all = docker(&["network", "ls", "-q", "--no-trunc", "--filter", &filter]);
        // A network that is being removed cannot be inspected.
        let created = |id: &str| try_docker(&["network", "inspect", "-f", "{{.Created}}", id]).ok();
        let mut ids: Vec<_> = all.lines().filter_map(|id| Some((created(id)?, id.to_owned()))).collect();
        ids.sort();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    fn daemon(&self, database: &Database) -> Daemon {
        DaemonBuilder::plain(database).slots(1).with("RGRID_SANDBOX__NETWORK_NAME", &self.name).start()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.users.iter().for_each(|user| drop(try_docker(&["rm", "-f", user])));
        self.ids().iter().for_each(|id| drop(try_docker(&["network", "rm", id])));
    }
}

fn assert_runs(daemon: &Daemon) {
    let end = daemon.http().wait(&daemon.http().submit("print('ran')"));
    assert_eq!((&end["status"], &end["attempt"]), (&json!("completed"), &json!(1)), "{end}");
}

#[test]
fn a_second_network_with_the_same_name_is_removed_at_start_and_later() {
    let name = Name::new();
    let database = Database::new();
    // A daemon that was killed before it looked for others leaves this.
    assert!(name.create());
    let kept = name.ids();
    let second = name.create();
    assert_eq!(name.ids().len(), 1 + usize::from(second));
    let daemon = name.daemon(&database);
    assert_runs(&daemon);
    assert_eq!(name.ids(), kept);

    name.create();
    assert_runs(&daemon);
    assert_eq!(name.ids(), kept);
}

#[test]
fn of_two_networks_with_the_same_name_the_one_in_use_is_kept() {
    let mut name = Name::new();
    let database = Database::new();
    assert!(name.create());
    name.create();
    let used = name.ids().pop().unwrap();
    name.use_network(&used);
    let daemon = name.daemon(&database);
    assert_runs(&daemon);
    assert_eq!(name.ids(), [used]);
}
