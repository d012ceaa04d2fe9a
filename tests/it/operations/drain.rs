//! SIGTERM: running executions finish, and queued ones keep their place.

use std::time::Duration;

use serde_json::json;

use crate::support::{DaemonBuilder, Database, containers_of, sandboxes_of, wait_until};

#[test]
fn sigterm_finishes_running_executions_and_leaves_the_rest_queued() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database).slots(1);
    let daemon = builder.start();
    let http = daemon.http();
    let running = http.submit("import time; time.sleep(10); print('finished')");
    wait_until("it runs", Duration::from_secs(30), || {
        (http.execution(&running)["status"] == "running").then_some(())
    });
    let queued: Vec<String> = (0..10).map(|n| http.submit(&format!("print({n})"))).collect();

    assert_eq!(daemon.stop(), 0);
    let status = |id: &str| database.text(&format!("SELECT status FROM executions WHERE id = '{id}'"));
    assert_eq!(status(&running), "completed");
    for id in &queued {
        assert_eq!(status(id), "queued");
    }

    let again = builder.start();
    for (n, id) in queued.iter().enumerate() {
        let end = again.http().wait(id);
        assert_eq!((end["stdout"].as_str(), end["attempt"].as_u64()), (Some(&*format!("{n}\n")), Some(1)));
    }
}

#[test]
fn an_execution_that_outlasts_the_drain_timeout_runs_again() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database).slots(1).with("RGRID_WORKER__DRAIN_TIMEOUT", "500ms");
    let daemon = builder.start();
    let id = daemon.http().submit("import time; print('begun', flush=True); time.sleep(8); print('done')");
    daemon.http().wait_for_output(&id, "begun");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(database.text(&format!("SELECT status FROM executions WHERE id = '{id}'")), "queued");

    let again = builder.start();
    let end = again.http().wait(&id);
    assert_eq!((end["status"].as_str(), end["stdout"].as_str()), (Some("completed"), Some("begun\ndone\n")));
    // The attempt counts, because its script had started.
    assert_eq!(database.number("SELECT attempt - released FROM executions"), 2);
}

#[test]
fn an_execution_with_one_attempt_ends_as_lost_with_its_output_after_the_drain_timeout() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).with("RGRID_WORKER__DRAIN_TIMEOUT", "500ms").start();
    let id = daemon.http().submit_with(
        "import time; print('begun', flush=True); time.sleep(60)",
        json!({ "max_attempts": 1, "secrets": { "TOKEN": "hidden" } }),
    );
    daemon.http().wait_for_output(&id, "begun");
    assert_eq!(daemon.stop(), 0);
    let row = "SELECT concat_ws(' ', status, failure_kind, stdout_bytes, stdout, secrets) FROM executions";
    assert_eq!(database.text(row), "failed lost 6 begun\n");
    let said = database.text("SELECT execution_error FROM executions");
    assert!(
        said.contains(
            "was stopped, and its worker.drain_timeout passed, while the script ran (attempt 1 of 1)"
        ),
        "{said}"
    );
    assert!(said.ends_with("submit it again, or allow more with --max-attempts"), "{said}");
    assert_eq!(database.number("SELECT count(*) FROM output_chunks"), 0);
}

#[test]
fn a_release_before_the_script_starts_costs_no_attempt() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database).slots(1).with("RGRID_WORKER__DRAIN_TIMEOUT", "500ms");
    let daemon = builder.clone().failing("hand_over.filled=sleep:60000").start();
    let id = daemon.http().submit_with("print('once')", json!({ "max_attempts": 1 }));
    wait_until("it is being handed over", Duration::from_secs(30), || {
        (daemon.http().execution(&id)["status"] == "running").then_some(())
    });
    assert_eq!(daemon.stop(), 0);
    let end = builder.start().http().wait(&id);
    assert_eq!(
        (&end["status"], &end["stdout"], &end["attempt"]),
        (&json!("completed"), &json!("once\n"), &json!(1))
    );
    assert_eq!(database.number("SELECT attempt - released FROM executions"), 1);
}

#[test]
fn a_sandbox_that_is_being_created_and_no_longer_needed_is_removed_at_the_stop() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).failing("nest.parked=sleep:9000").start();
    wait_until("one is being parked", Duration::from_secs(30), || {
        (sandboxes_of(&database.cluster()).len() == 1).then_some(())
    });
    // The execution needs a different sandbox and ends before the first one exists.
    let id = daemon.http().submit_with("import time; time.sleep(3)", json!({ "network": false }));
    wait_until("it runs", Duration::from_secs(30), || {
        (daemon.http().execution(&id)["status"] == "running").then_some(())
    });
    assert_eq!(daemon.stop(), 0);
    assert_eq!(containers_of(&database.cluster()), Vec::<String>::new());
}
