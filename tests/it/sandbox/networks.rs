//! Docker accepts two networks with the same name if they are created at the same time, and then starts no container in
//! either.

use serde_json::json;

use crate::support::{Daemon, DaemonBuilder, Database, docker, try_docker};

/// A unique network name; dropping it removes its networks.
struct Name(String);

impl Name {
    fn new(round: u32) -> Self {
        Self(format!("rgrid-test-{}-{round}", std::process::id()))
    }

    fn ids(&self) -> Vec<String> {
        let filter = format!("name=^{}$", self.0);
        let ids = docker(&["network", "ls", "-q", "--no-trunc", "--filter", &filter]);
        ids.lines().map(str::to_owned).collect()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.ids().iter().for_each(|id| drop(try_docker(&["network", "rm", id])));
    }
}

fn assert_runs(daemon: &Daemon) {
    let end = daemon.http().wait(&daemon.http().submit("print('ran')"));
    assert_eq!((&end["status"], &end["attempt"]), (&json!("completed"), &json!(1)), "{end}");
}

#[test]
fn daemons_that_start_together_create_one_network() {
    let databases = [Database::new(), Database::new(), Database::new()];
    for round in 0..4 {
        let name = Name::new(round);
        let start = |database| {
            DaemonBuilder::plain(database).slots(1).with("RGRID_SANDBOX__NETWORK_NAME", &name.0).start()
        };
        let daemons: Vec<Daemon> = std::thread::scope(|scope| {
            let starting: Vec<_> = databases.iter().map(|database| scope.spawn(|| start(database))).collect();
            starting.into_iter().map(|daemon| daemon.join().unwrap()).collect()
        });
        assert_eq!(name.ids().len(), 1);
        daemons.iter().for_each(assert_runs);
    }
}

#[test]
fn a_network_that_exists_is_used_as_it_is() {
    let name = Name::new(100);
    let created = docker(&["network", "create", &name.0]);
    let database = Database::new();
    let daemon =
        DaemonBuilder::plain(&database).slots(1).with("RGRID_SANDBOX__NETWORK_NAME", &name.0).start();
    assert_runs(&daemon);
    assert_eq!(name.ids(), [created]);
}
