//! The daemon is killed at each stage between parking and recording.

use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::{DaemonBuilder, Database, containers_of, wait_until};

/// In the order in which a sandbox and its holder reach them.
const STAGES: [&str; 9] = [
    "nest.parking",
    "park.made",
    "nest.parked",
    "holder.made",
    "holder.ready",
    "hand_over.filled",
    "hand_over.started",
    "run.exited",
    "reaper.removing",
];

/// Prints a random number, so that a second run of the script is noticed.
const SCRIPT: &str = "import random; print('run', random.randrange(10**12))";

fn wait_for_end(mut child: Child, what: &str) {
    wait_until(what, Duration::from_secs(60), || child.try_wait().unwrap());
}

fn dies_at(stage: &str) {
    let database = Database::new();
    let api = DaemonBuilder::on(&database).role("api").start();
    let http = api.http();
    let builder = DaemonBuilder::on(&database).slots(2);
    let ids: Vec<String> = (0..6).map(|_| http.submit(SCRIPT)).collect();
    // It dies when it first reaches the stage, perhaps after some executions.
    let mut worker = builder.clone().failing(&format!("{stage}=die")).serving();
    let child = worker.stderr(Stdio::null()).spawn().unwrap();
    wait_for_end(child, &format!("it dies at {stage}"));

    let again = builder.start();
    for id in &ids {
        let end = http.wait(id);
        let said = end["stdout"].as_str().unwrap();
        assert_eq!(
            (end["status"].as_str(), said.matches("run").count()),
            (Some("completed"), 1),
            "{stage}: {end}"
        );
        // A kill costs at most one attempt.
        assert!(end["attempt"].as_u64().unwrap() <= 2, "{stage}: {end}");
    }
    assert_eq!(again.stop(), 0);
    assert_eq!(containers_of(&database.cluster()), Vec::<String>::new(), "{stage}");
}

#[test]
fn a_daemon_killed_at_any_stage_loses_nothing_and_leaves_nothing_behind() {
    STAGES.into_iter().for_each(dies_at);
}
