//! Processes notify each other, and poll in case a notification is lost.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use serde_json::json;

use crate::support::{Daemon, DaemonBuilder, Database, wait_until};

/// An API, and a worker that polls every `poll`.
fn api_and_worker(database: &Database, poll: &str) -> (Daemon, Daemon) {
    let worker =
        DaemonBuilder::plain(database).role("worker").with("RGRID_WORKER__POLL_INTERVAL", poll).slots(1);
    (DaemonBuilder::plain(database).role("api").start(), worker.start())
}

fn listeners(database: &Database) -> i64 {
    database.number(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = 'LISTEN rgrid'",
    )
}

#[test]
fn other_processes_are_notified_of_a_submission_a_cancellation_and_an_end() {
    let database = Database::new();
    let (api, _worker) = api_and_worker(&database, "10m");
    let http = api.http();
    wait_until("both listen", Duration::from_secs(10), || (listeners(&database) == 2).then_some(()));

    let begun = Instant::now();
    assert_eq!(http.wait(&http.submit("print('told')"))["stdout"], "told\n");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());

    let id = http.submit("import time; print('begun', flush=True); time.sleep(60)");
    wait_until("it runs", Duration::from_secs(30), || {
        http.get(&format!("/api/v1/executions/{id}/logs")).body.contains("begun").then_some(())
    });
    let begun = Instant::now();
    assert_eq!(http.post(&format!("/api/v1/executions/{id}/cancel"), &json!({})).status, 202);
    assert_eq!(http.wait(&id)["status"], "cancelled");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn without_a_listener_the_poll_finds_the_row_and_the_listener_reconnects() {
    let database = Database::new();
    let (api, _worker) = api_and_worker(&database, "500ms");
    wait_until("both listen", Duration::from_secs(10), || (listeners(&database) == 2).then_some(()));
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND query = 'LISTEN rgrid'";
    database.connect().batch_execute(kill).unwrap();
    let id = api.http().submit("print('found')");
    assert_eq!(api.http().wait(&id)["stdout"], "found\n");
    wait_until("both listen again", Duration::from_secs(10), || (listeners(&database) == 2).then_some(()));
}
