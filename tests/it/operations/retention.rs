//! Retention limits and the disk budget.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use diesel::connection::SimpleConnection;
use serde_json::json;

use crate::support::{Daemon, DaemonBuilder, Database, Index, environments_of, wait_until};

const MIB: usize = 1 << 20;

fn stored(database: &Database) -> i64 {
    database.number(
        "SELECT coalesce((SELECT sum(length(content)) FROM blobs), 0)
            + coalesce((SELECT sum(octet_length(stdout) + octet_length(stderr)) FROM executions), 0)",
    )
}

fn file(name: &str, content: &[u8]) -> serde_json::Value {
    json!({ "name": name, "content_base64": BASE64_STANDARD.encode(content) })
}

fn sweeping(database: &Database) -> DaemonBuilder {
    DaemonBuilder::plain(database).with("RGRID_RETENTION__SWEEP_EVERY", "200ms")
}

/// Moves the execution's times into the past.
fn make_older(database: &Database, id: &str, age: &str) {
    let older = format!(
        "UPDATE executions SET created_at = created_at - interval '{age}', started_at = started_at - interval '{age}',
            completed_at = completed_at - interval '{age}' WHERE id = '{id}';
         UPDATE blobs SET created_at = created_at - interval '{age}'"
    );
    database.connect().batch_execute(&older).unwrap();
}

#[test]
fn outputs_are_deleted_first_then_executions_then_contents() {
    let database = Database::new();
    let daemon = sweeping(&database).start();
    let http = daemon.http();
    let keep = |name: &str| format!("open('{name}', 'w').write('{name}' * 100); print('{name}')");
    let (old, older, fresh) =
        (http.submit(&keep("old")), http.submit(&keep("older")), http.submit(&keep("fresh")));
    for id in [&old, &older, &fresh] {
        assert_eq!(http.wait(id)["status"], "completed");
    }
    make_older(&database, &old, "40 days");
    make_older(&database, &older, "100 days");
    wait_until("the oldest is gone", Duration::from_secs(20), || {
        (http.get(&format!("/api/v1/executions/{older}")).status == 404).then_some(())
    });
    let pruned = wait_until("the old one has lost its output", Duration::from_secs(20), || {
        Some(http.execution(&old)).filter(|execution| execution["pruned_at"].is_string())
    });
    assert_eq!(
        (&pruned["stdout"], &pruned["outputs"], &pruned["exit_code"]),
        (&json!(""), &json!([]), &json!(0))
    );
    let kept = http.execution(&fresh);
    assert_eq!((&kept["stdout"], kept["outputs"].as_array().unwrap().len()), (&json!("fresh\n"), 1));
    // Three blobs are still referenced: two scripts and one output file.
    wait_until("unreferenced contents are deleted", Duration::from_secs(20), || {
        (database.number("SELECT count(*) FROM blobs") == 3).then_some(())
    });
    // The script is kept, so the execution can be retried.
    let again = http.post(&format!("/api/v1/executions/{old}/retry"), &json!({}));
    assert_eq!(http.wait(again.json()["id"].as_str().unwrap())["stdout"], "old\n");
}

#[test]
fn the_newest_executions_are_kept_and_running_ones_are_never_deleted() {
    let database = Database::new();
    let daemon = sweeping(&database).with("RGRID_RETENTION__MAX_EXECUTIONS", "3").start();
    let http = daemon.http();
    let running = http.submit("import time; print('still here'); time.sleep(8)");
    let ids: Vec<String> = (0..6).map(|n| http.submit(&format!("print({n})"))).collect();
    http.wait(ids.last().unwrap());
    wait_until("three are left", Duration::from_secs(30), || {
        (database.number("SELECT count(*) FROM executions WHERE completed_at IS NOT NULL") == 3).then_some(())
    });
    assert_eq!(http.wait(&running)["stdout"], "still here\n");
}

/// Each submission uploads 2 MiB and writes 1 MiB; the budget is 12 MiB.
#[test]
fn the_disk_budget_is_never_exceeded_and_old_outputs_are_deleted() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).with("RGRID_RETENTION__DISK_BUDGET", "12MiB").start();
    let http = daemon.http();
    for n in 0..12u8 {
        let script = format!("open('left', 'wb').write(bytes([{n}]) * {MIB}); print('x' * 50000)");
        let id = http.submit_with(&script, json!({ "files": [file("in.bin", &vec![n; 2 * MIB])] }));
        assert_eq!(http.wait(&id)["status"], "completed", "submission {n}");
        let now = stored(&database);
        assert!(now <= 12 * MIB as i64, "{now} bytes after submission {n}");
    }
    assert!(database.number("SELECT count(*) FROM executions") < 12, "the oldest executions were deleted");
}

#[test]
fn the_least_recently_used_environment_is_deleted_before_any_output() {
    let index = Index::new().with_module("hello", "1.0").with_module("other", "1.0");
    let database = Database::new();
    // Without a tight budget, until the sizes are known.
    let builder = DaemonBuilder::plain(&database)
        .slots(1)
        .with("RGRID_SANDBOX__PARKED", "0")
        .with("RGRID_ENVIRONMENTS__SWEEP_INTERVAL", "2s");
    let daemon = builder.start();
    let ids = ["hello", "other"].map(|module| {
        let more = json!({ "requirements": index.requirements(module) });
        daemon.http().submit_with(&format!("import {module}; print('x' * 5000)"), more)
    });
    ids.iter().for_each(|id| assert_eq!(daemon.http().wait(id)["status"], "completed"));
    assert_eq!(daemon.stop(), 0);
    let an_hour_ago = "UPDATE environments SET last_used_at = last_used_at - interval '1 hour' * \
        (CASE WHEN key = (SELECT min(key) FROM environments) THEN 2 ELSE 1 END)";
    database.connect().batch_execute(an_hour_ago).unwrap();
    let newest = database.text("SELECT volume FROM environments ORDER BY last_used_at DESC LIMIT 1");

    // A budget that lacks a quarter of the environments' size.
    let sizes = database.number("SELECT sum(size_bytes) FROM environments");
    let most = stored(&database) + sizes - sizes / 4;
    let sweeping = builder.with("RGRID_RETENTION__SWEEP_EVERY", "200ms");
    let daemon = sweeping.with("RGRID_RETENTION__DISK_BUDGET", &most.to_string()).start();
    wait_until("one volume is left", Duration::from_secs(60), || {
        (environments_of(&database.cluster()) == [newest.clone()]).then_some(())
    });
    assert_eq!(database.text("SELECT volume FROM environments"), newest);
    ids.iter().for_each(|id| assert_eq!(daemon.http().execution(id)["stdout"], "x".repeat(5000) + "\n"));
}

#[test]
fn an_idle_image_is_deleted_before_any_output() {
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database).with("RGRID_RETENTION__DISK_BUDGET", "12MiB");
    let daemon = builder.start();
    let first =
        daemon.http().submit_with("print('kept')", json!({ "files": [file("in.bin", &vec![1; 2 * MIB])] }));
    assert_eq!(daemon.http().wait(&first)["status"], "completed");
    assert_eq!(daemon.stop(), 0);
    // On another host, so that this worker does not manage them.
    let image = |name: &str, used: &str| {
        format!(
            "INSERT INTO images (engine, image, name, size_bytes, last_used_at)
            VALUES ('elsewhere', 'sha256:{name}', '{name}', {size}, now() - interval '{used}')",
            size = 4 * MIB
        )
    };
    for (name, used) in [("older", "3 days"), ("old", "2 days"), ("used", "1 hour")] {
        database.execute(&image(name, used));
    }
    // Together they exceed the budget; without the oldest they fit.
    let daemon = builder.start();
    let http = daemon.http();
    let second = http.submit_with("print('kept')", json!({ "files": [file("in.bin", &vec![2; MIB / 2])] }));
    assert_eq!(http.wait(&second)["status"], "completed");
    let retired =
        "SELECT coalesce(string_agg(name, ' ' ORDER BY name), '') FROM images WHERE retired_at IS NOT NULL";
    assert_eq!(database.text(retired), "older");
    let third = http.submit_with("print('kept')", json!({ "files": [file("in.bin", &vec![3; 3 * MIB])] }));
    assert_eq!(http.wait(&third)["status"], "completed");
    assert_eq!(database.text(retired), "old older", "the recently used image is kept");
    for id in [first, second, third] {
        assert_eq!(http.execution(&id)["stdout"], "kept\n");
    }
}

#[test]
fn a_submission_is_rejected_if_nothing_can_be_deleted() {
    let database = Database::new();
    let daemon: Daemon =
        DaemonBuilder::plain(&database).role("api").with("RGRID_RETENTION__DISK_BUDGET", "6MiB").start();
    let body = |n: u8| json!({ "script": { "name": "s.py", "content": "pass" }, "files": [file("in.bin", &vec![n; 2 * MIB])] });
    let statuses: Vec<u16> =
        (0..4).map(|n| daemon.http().post("/api/v1/executions", &body(n)).status).collect();
    assert_eq!(statuses, [201, 201, 507, 507]);
    let refused = daemon.http().post("/api/v1/executions", &body(9)).json();
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("6 MiB") && detail.contains("retention.disk_budget"), "{refused}");
    assert!(refused["hint"].as_str().unwrap().contains("raise"), "{refused}");
    assert!(stored(&database) <= 6 * MIB as i64);
    assert_eq!(database.number("SELECT count(*) FROM executions"), 2);
}
