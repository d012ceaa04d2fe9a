//! A worker is cut off from Postgres for longer than its lease, and comes back.

use std::time::Duration;

use crate::support::{Daemon, DaemonBuilder, Postgres, Proxy, wait_until};

/// Which worker is it that runs? It says so, and the attempt, through a file that the test puts its name in.
const WAITS: &str = "\
import random, time
print('run', random.randrange(10**12))
time.sleep(8)
print('end')
";

fn two_workers(postgres: &Postgres) -> (Proxy, Daemon, Daemon) {
    let (proxy, url) = postgres.proxied();
    let worker = |builder: DaemonBuilder, name: &str| {
        builder.slots(1).lease("3s").named(name).with("RGRID_SANDBOX__PARKED", "0").start()
    };
    let first = worker(DaemonBuilder::at(&url), "one");
    (proxy, first, worker(DaemonBuilder::at(&postgres.url()), "two"))
}

fn survives(cut_off: impl FnOnce(&Proxy)) {
    let postgres = Postgres::new();
    let (proxy, first, second) = two_workers(&postgres);
    // Only the first one can have it.
    let blocked = second.http().submit("import time; time.sleep(2)");
    second.http().wait_for_status(&blocked, "running");
    let id = first.http().submit(WAITS);
    wait_until("the first one has it", Duration::from_secs(30), || {
        let worker = second.http().execution(&id)["worker"].as_str().map(str::to_owned);
        (worker.as_deref() == Some("one")).then_some(())
    });
    second.http().wait_for_output(&id, "run");
    let run = second.http().get(&format!("/api/v1/executions/{id}/logs")).body;

    cut_off(&proxy);
    let end = second.http().wait(&id);
    assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(2)), "{end}");
    assert_eq!(end["worker"], "two");
    let stdout = end["stdout"].as_str().unwrap().to_owned();
    assert!(
        stdout.starts_with("run ") && stdout.ends_with("\nend\n") && !stdout.contains(run.trim()),
        "{stdout}"
    );

    proxy.heal();
    // By whichever way it learns it: its look at the claims, or its own late write.
    wait_until("the first one notices", Duration::from_secs(60), || {
        first.has_said("claim lost").then_some(())
    });
    assert_eq!(second.http().execution(&id), end, "the late one wrote");
    wait_until("it is ready again", Duration::from_secs(60), || first.is_ready().then_some(()));
    let cluster = postgres.text("SELECT cluster FROM deployment");
    assert_eq!((first.stop(), second.stop()), (0, 0));
    assert_eq!(crate::support::containers_of(&cluster), Vec::<String>::new());
}

#[test]
fn a_worker_that_was_cut_off_stops_its_sandbox_and_writes_nothing() {
    survives(Proxy::cut);
}

#[test]
fn a_worker_whose_connections_hang_is_rescued_and_recovers_when_they_go_on() {
    survives(Proxy::stall);
}
