//! A container is killed or runs out of memory; a script ignores its end or floods its output.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Daemon, DaemonBuilder, Database, containers_of, docker, fixture, sandboxes_of};

fn daemon() -> (Database, Daemon) {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).slots(1).with("RGRID_EXECUTION__GRACE", "1s").start();
    (database, daemon)
}

fn of_fixture(daemon: &Daemon, name: &str, more: Value) -> String {
    daemon.http().submit_with(&std::fs::read_to_string(fixture(name)).unwrap(), more)
}

#[test]
fn a_container_killed_from_outside_is_lost_and_keeps_its_output() {
    let (database, daemon) = daemon();
    let http = daemon.http();
    let id = http.submit("import time; print('begun'); time.sleep(60)");
    http.wait_for_output(&id, "begun");
    for container in sandboxes_of(&database.text("SELECT cluster FROM deployment")) {
        docker(&["kill", &container]);
    }
    let end = http.wait(&id);
    assert_eq!(
        (end["status"].as_str(), end["failure_kind"].as_str()),
        (Some("failed"), Some("lost")),
        "{end}"
    );
    assert_eq!(end["stdout"], "begun\n");
    assert!(end["execution_error"].as_str().unwrap().contains("from outside"), "{end}");
}

#[test]
fn a_script_that_runs_out_of_memory_keeps_its_output() {
    let (_database, daemon) = daemon();
    let id = of_fixture(&daemon, "allocates.py", json!({ "memory_mb": 64 }));
    let end = daemon.http().wait(&id);
    assert_eq!(
        (end["status"].as_str(), end["failure_kind"].as_str()),
        (Some("failed"), Some("out_of_memory")),
        "{end}"
    );
    assert_eq!(end["stdout"], "begun\n");
}

#[test]
fn a_script_that_ignores_sigterm_and_forks_ends_at_its_deadline_and_leaves_nothing() {
    let (database, daemon) = daemon();
    let id = of_fixture(&daemon, "clings.py", json!({ "timeout_seconds": 5 }));
    let end = daemon.http().wait(&id);
    assert_eq!(
        (end["status"].as_str(), end["failure_kind"].as_str()),
        (Some("failed"), Some("timeout")),
        "{end}"
    );
    let took = end["duration_ms"].as_u64().unwrap();
    assert!((5_000..30_000).contains(&took), "{took} ms");
    assert!(end["stdout"].as_str().unwrap().contains("forked"), "{end}");
    assert_eq!(clinging(), 0);
    let cluster = database.text("SELECT cluster FROM deployment");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(containers_of(&cluster), Vec::<String>::new());
}

/// Counts the script's processes on this host.
fn clinging() -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().map_while(Result::ok);
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains("rgrid-clings")).count()
}

#[test]
fn a_flood_of_output_is_truncated_and_the_daemons_memory_stays_flat() {
    let (_database, daemon) = daemon();
    let http = daemon.http();
    http.wait(&http.submit("print('warm up')"));
    let before = daemon.holdings();
    let id = of_fixture(&daemon, "floods.py", json!({}));
    let mut most = before.memory;
    let end = crate::support::wait_until("the flood ends", Duration::from_secs(120), || {
        most = most.max(daemon.holdings().memory);
        let execution = http.execution(&id);
        execution["completed_at"].is_string().then_some(execution)
    });
    assert_eq!(end["status"], "completed", "{}", end["execution_error"]);
    assert_eq!(end["stdout_bytes"].as_u64(), Some(300 << 20));
    assert_eq!(end["output_truncated"], true);
    assert!(end["stdout"].as_str().unwrap().len() < 120 << 10);
    assert!(most < before.memory + (24 << 20), "{} MiB, {} before", most >> 20, before.memory >> 20);
    daemon.assert_holds_no_more_than(before);
}
