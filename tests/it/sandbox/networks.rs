//! Two networks of one name: Docker makes them for two that ask at once, and then starts no container in either.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use crate::support::{Daemon, DaemonBuilder, Database, docker, try_docker};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A name that no other test uses; dropping it removes what has it.
struct Name {
    name: String,
    users: Vec<String>,
}

impl Name {
    fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("rgrid-test-{}-{number}", std::process::id()), users: Vec::new() }
    }

    /// As a daemon makes it. False: this Docker refuses a second one, so there is nothing to mend.
    fn make(&self) -> bool {
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

    /// Something runs in that network.
    fn used(&mut self, network: &str) {
        let user = docker(&["run", "-d", "--entrypoint", "sleep", "python:3.11-slim", "600"]);
        self.users.push(user.clone());
        docker(&["network", "connect", network, &user]);
    }

    fn ids(&self) -> Vec<String> {
        let filter = format!("name=^{}$", self.name);
        let all = docker(&["network", "ls", "-q", "--no-trunc", "--filter", &filter]);
        // One that is removed in this moment is not there any more.
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
fn a_second_network_of_one_name_is_removed_at_a_start_and_while_it_runs() {
    let name = Name::new();
    let database = Database::new();
    // Left by one that was killed over looking for others.
    assert!(name.make());
    let kept = name.ids();
    let second = name.make();
    assert_eq!(name.ids().len(), 1 + usize::from(second));
    let daemon = name.daemon(&database);
    assert_runs(&daemon);
    assert_eq!(name.ids(), kept);

    name.make();
    assert_runs(&daemon);
    assert_eq!(name.ids(), kept);
}

#[test]
fn of_two_networks_of_one_name_the_one_in_use_is_kept() {
    let mut name = Name::new();
    let database = Database::new();
    assert!(name.make());
    name.make();
    let used = name.ids().pop().unwrap();
    name.used(&used);
    let daemon = name.daemon(&database);
    assert_runs(&daemon);
    assert_eq!(name.ids(), [used]);
}
