//! The daemon is killed twice in a row at each point between a claim and the first event of its script. An attempt counts
//! only if its script may have started.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::faults::starts::Starts;
use crate::support::{DaemonBuilder, Database, containers_of, remove_containers_of, wait_until};

/// What happens to the sandboxes while the daemon is down.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sandboxes {
    Survive,
    /// As if the host had lost them.
    AreRemoved,
}

use Sandboxes::{AreRemoved, Survive};

/// The point, what happens to the sandboxes; whether the second daemon finds the job in a sandbox; status, attempt and
/// the highest number of starts at the end, because a sandbox may be removed before its script reports its start.
type Case = (&'static str, Sandboxes, bool, &'static str, u64, usize);

const CASES: [Case; 11] = [
    ("poller.claimed", Survive, false, "completed", 1, 1),
    ("poller.claimed", AreRemoved, false, "completed", 1, 1),
    ("hand_over.filled", Survive, false, "completed", 1, 1),
    ("hand_over.filled", AreRemoved, false, "completed", 1, 1),
    // The start is noted, but the sandbox is still parked.
    ("hand_over.noted", Survive, false, "completed", 1, 1),
    // Nobody can know whether the script ran in a sandbox that is gone.
    ("hand_over.noted", AreRemoved, false, "failed", 2, 0),
    ("hand_over.sent", Survive, true, "completed", 1, 1),
    ("hand_over.started", Survive, true, "completed", 1, 1),
    ("hand_over.started", AreRemoved, false, "failed", 2, 2),
    ("run.following", Survive, true, "completed", 1, 1),
    ("run.following", AreRemoved, false, "failed", 2, 2),
];

fn check((point, sandboxes, is_found, status, attempt, starts): Case) {
    let what = format!("{point}, sandboxes: {sandboxes:?}");
    let (database, counter) = (Database::new(), Starts::listen());
    let api = DaemonBuilder::on(&database).role("api").start();
    let builder = DaemonBuilder::on(&database).slots(1).lease("10s");
    let dying = builder.clone().failing(&format!("{point}=die"));
    let id = api.http().submit_with(&counter.script(4.0), json!({ "max_attempts": 2 }));
    let dies = || {
        let mut daemon = dying.serving().stderr(Stdio::null()).spawn().unwrap();
        wait_until(&what, Duration::from_secs(60), || daemon.try_wait().unwrap());
        if sandboxes == AreRemoved {
            remove_containers_of(&database.cluster());
        }
    };
    dies();
    if is_found {
        let daemon = builder.start();
        wait_until(&what, Duration::from_secs(10), || daemon.has_said("re-attached").then_some(()));
        daemon.kill_9();
    } else {
        dies();
    }

    let daemon = builder.start();
    let end = api.http().wait(&id);
    let started = counter.of(&id).len();
    assert_eq!(
        (end["status"].as_str(), end["attempt"].as_u64()),
        (Some(status), Some(attempt)),
        "{what}: {end}"
    );
    assert!(started <= starts, "{what}: {started} starts, {end}");
    if status == "failed" {
        assert_eq!(end["failure_kind"], "lost", "{what}: {end}");
    } else {
        assert_eq!((&end["stdout"], started), (&json!("started\nended\n"), 1), "{what}: {end}");
    }
    assert_eq!(daemon.stop(), 0);
    assert_eq!(containers_of(&database.cluster()), Vec::<String>::new(), "{what}");
}

#[test]
fn an_attempt_counts_only_if_its_script_may_have_started() {
    CASES.into_iter().for_each(check);
}
