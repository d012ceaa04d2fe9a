//! Story NEW-1: the worker. `operations::drain` and `queue::many_daemons` cover draining and several workers.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use serde_json::Value;

use crate::acceptance::stories::{daemon, default_setting};
use crate::support::{DaemonBuilder, Database, wait_until};

#[test]
fn new_1_a_claim_skips_an_execution_that_another_transaction_has_locked() {
    assert_eq!(default_setting("worker.poll_interval"), "5s");
    let database = Database::new();
    let api = DaemonBuilder::plain(&database).role("api").start();
    let http = api.http();
    let (locked, free) = (http.submit("print('locked')"), http.submit("print('free')"));
    let mut other = database.connect();
    let lock = format!("BEGIN; SELECT 1 FROM executions WHERE id = '{locked}' FOR UPDATE");
    other.batch_execute(&lock).unwrap();
    let _worker = DaemonBuilder::plain(&database).role("worker").start();
    assert_eq!(http.wait(&free)["stdout"], "free\n");
    assert_eq!(http.execution(&locked)["status"], "queued");
    other.batch_execute("ROLLBACK").unwrap();
    assert_eq!(http.wait(&locked)["stdout"], "locked\n");
}

#[test]
fn new_1_no_more_executions_run_than_there_are_slots() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(2).start();
    let http = daemon.http();
    let ids: Vec<_> =
        (0..6).map(|n| http.submit(&format!("import time; time.sleep(1); print({n})"))).collect();
    let mut most = 0;
    wait_until("all have ended", Duration::from_secs(60), || {
        let count = |status: &str| {
            database.number(&format!("SELECT count(*) FROM executions WHERE status = '{status}'"))
        };
        most = most.max(count("running"));
        (count("completed") == 6).then_some(())
    });
    assert_eq!(most, 2);
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(http.execution(id)["stdout"], format!("{n}\n"));
    }
}

#[test]
fn new_1_each_transition_is_logged_with_its_ids() {
    let (_database, daemon) = daemon();
    let http = daemon.http();
    let (good, bad) = (http.submit("print(1)"), http.submit("raise SystemExit(2)"));
    for id in [&good, &bad] {
        http.wait(id);
    }
    let steps = |id: &str| -> Vec<String> {
        let lines = daemon.log();
        let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
        let own = lines.filter(|line| line["execution"] == id);
        let told = own.filter(|line| {
            line["ts"].is_string()
                && line["attempt"].as_u64().is_some_and(|n| n == 1)
                && line["worker"].is_string()
        });
        told.map(|line| line["msg"].as_str().unwrap().to_owned()).collect()
    };
    // The last line is logged shortly after the result is visible.
    for (id, end) in [(&good, "completed"), (&bad, "failed")] {
        let story = ["claimed", "running", end];
        wait_until("each transition is in the log", Duration::from_secs(10), || {
            (steps(id) == story).then_some(())
        });
    }
}

#[test]
fn new_1_the_terminal_format_is_not_json() {
    let database = Database::new();
    let mut daemon = DaemonBuilder::plain(&database).with("RGRID_LOG__FORMAT", "terminal").serving();
    let (read, write) = std::io::pipe().unwrap();
    let mut child = crate::support::Background(daemon.stderr(write).spawn().unwrap());
    drop(daemon);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(read));
    let ready = lines.find_map(|line| line.ok().filter(|line| line.contains("ready"))).unwrap();
    assert!(!ready.starts_with('{') && ready.contains("address"), "{ready}");
    let pid = child.0.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
}
