//! Postgres restarts, is unavailable, hangs, has a full disk, or is embedded and dies.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::faults::{assert_counted_once, counting, wait_for_log, wait_for_readiness};
use crate::support::{DaemonBuilder, Database, Postgres, wait_until};

#[test]
fn postgres_restarts_under_load_and_nothing_is_lost() {
    let postgres = Postgres::new();
    let daemon = DaemonBuilder::at(&postgres.url()).slots(3).start();
    let before = daemon.holdings();
    let http = daemon.http();
    let long = http.submit(&counting(100));
    http.wait_for_output(&long, "line 1");
    let mut ids = Vec::new();
    for round in 0..5 {
        for n in 0..3 {
            let script = format!("import random; print({round}, {n}, random.randrange(10**12))");
            ids.push(http.submit_surely(&format!("{round}-{n}"), &script, json!({})));
        }
        postgres.restart_at_once();
    }
    for id in ids {
        let end = http.wait_through_503(&id);
        assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(1)), "{end}");
        assert_eq!(end["stdout"].as_str().unwrap().lines().count(), 1, "{end}");
    }
    let end = http.wait_through_503(&long);
    assert_counted_once(end["stdout"].as_str().unwrap(), 100);
    assert_eq!(end["attempt"], 1);
    daemon.assert_holds_no_more_than(before);
    // The pools close surplus connections when they are returned.
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rgridd'";
    wait_until("surplus connections are closed", Duration::from_secs(20), || {
        http.execution(&long);
        (postgres.number(connections) <= 8).then_some(())
    });
}

#[test]
fn a_script_that_ends_while_postgres_is_down_is_recorded_when_it_is_back() {
    let postgres = Postgres::new();
    let daemon = DaemonBuilder::at(&postgres.url()).slots(2).lease("3s").start();
    let http = daemon.http();
    let ids = [http.submit(&counting(60)), http.submit(&counting(60))];
    ids.iter().for_each(|id| drop(http.wait_for_output(id, "line 1")));
    // This worker would rescue them.
    let other = DaemonBuilder::at(&postgres.url()).slots(2).lease("3s").start();
    postgres.stop_at_once();
    wait_for_readiness(&daemon, false);
    let refused = http.get(&format!("/api/v1/executions/{}", ids[0]));
    assert_eq!((refused.status, refused.retry_after.is_some()), (503, true), "{refused:?}");
    // Five leases pass, and the scripts end during the second.
    std::thread::sleep(Duration::from_secs(15));
    let ready = http.get("/readyz").body;
    assert!(ready.contains("results are waiting to be stored"), "{ready}");
    postgres.start();
    for id in &ids {
        let end = http.wait_through_503(id);
        assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(1)), "{end}");
        assert_counted_once(end["stdout"].as_str().unwrap(), 60);
    }
    wait_for_readiness(&daemon, true);
    drop(other);
}

#[test]
fn a_hanging_postgres_is_reported_and_nothing_accumulates() {
    let postgres = Postgres::new();
    let (proxy, url) = postgres.proxied();
    let daemon = DaemonBuilder::at(&url).slots(1).lease("30s").start();
    let http = daemon.http();
    let id = http.submit(&counting(20));
    http.wait_for_output(&id, "line 1");
    let before = daemon.holdings();
    proxy.stall();
    // More than there are open connections, so some requests hang in one and some while connecting.
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let asked = Instant::now();
                let answer = daemon.http().get(&format!("/api/v1/executions/{id}"));
                assert_eq!((answer.status, answer.retry_after.is_some()), (503, true), "{answer:?}");
                assert!(asked.elapsed() < Duration::from_secs(60), "{:?}", asked.elapsed());
            });
        }
    });
    wait_for_readiness(&daemon, false);
    assert!(daemon.holdings().threads < before.threads + 40, "{:?}", daemon.holdings());
    proxy.heal();
    let end = http.wait_through_503(&id);
    assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(1)), "{end}");
    assert_counted_once(end["stdout"].as_str().unwrap(), 20);
    daemon.assert_holds_no_more_than(before);
}

#[test]
fn submissions_get_an_error_while_the_disk_is_full_and_accepted_executions_run_later() {
    let postgres = Postgres::on_a_small_disk(96);
    let daemon = DaemonBuilder::at(&postgres.url()).slots(1).start();
    let http = daemon.http();
    let running = http.submit("import time; time.sleep(4); print('x' * 60000)");
    http.wait_for_status(&running, "running");
    let ballast = postgres.disk().join("ballast");
    fill(&ballast, &postgres);

    // Random data, because Postgres compresses.
    let mut seed = 1u64;
    let mut noise = || -> String {
        let mut digit = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            char::from(
                b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/"[(seed >> 58) as usize],
            )
        };
        (0..500_000).map(|_| digit()).collect()
    };
    let mut accepted = vec![running];
    let refused = wait_until("the disk is full", Duration::from_secs(60), || {
        let script = format!("print('ran') # {}", noise());
        let answer =
            http.post("/api/v1/executions", &json!({ "script": { "name": "a.py", "content": script } }));
        match answer.status {
            201 => accepted.push(answer.json()["id"].as_str().unwrap().to_owned()),
            503 => return Some(answer),
            _ => panic!("{answer:?}"),
        }
        None
    });
    assert!(refused.retry_after.is_some(), "{refused:?}");
    assert!(refused.json()["detail"].as_str().unwrap().contains("disk is full"), "{refused:?}");

    std::fs::remove_file(ballast).unwrap();
    if !postgres.is_running() {
        postgres.start();
    }
    for id in accepted {
        let end = http.wait_through_503(&id);
        assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(1)), "{end}");
    }
}

/// Leaves two MiB free.
fn fill(ballast: &std::path::Path, postgres: &Postgres) {
    let free = std::process::Command::new("df")
        .args(["--output=avail", "-B1"])
        .arg(postgres.disk())
        .output()
        .unwrap();
    let free = String::from_utf8(free.stdout).unwrap();
    let free: u64 = free.lines().nth(1).unwrap().trim().parse().unwrap();
    let status = std::process::Command::new("fallocate")
        .args(["-l", &(free - (2 << 20)).to_string()])
        .arg(ballast)
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn an_embedded_postgres_that_dies_is_restarted_and_the_execution_continues() {
    let builder = DaemonBuilder::new().slots(1);
    let daemon = builder.start();
    let http = daemon.http();
    let id = http.submit(&counting(40));
    http.wait_for_output(&id, "line 3");
    let pid = std::fs::read_to_string(builder.data_dir().join("postgres/data/postmaster.pid")).unwrap();
    let killed = std::process::Command::new("kill").args(["-9", pid.lines().next().unwrap()]).status();
    assert!(killed.unwrap().success());
    let end = http.wait_through_503(&id);
    assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(1)), "{end}");
    assert_counted_once(end["stdout"].as_str().unwrap(), 40);
    wait_for_log(&daemon, "restarted the embedded Postgres after it died");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_submission_without_a_response_can_be_repeated_for_a_day() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).start();
    let http = daemon.http();
    let submit = || http.submit_surely("key", "print(1)", json!({}));
    let first = submit();
    assert_eq!(submit(), first);
    database.execute("UPDATE executions SET created_at = now() - interval '23 h 59 min'");
    assert_eq!(submit(), first);
    database.execute("UPDATE executions SET created_at = now() - interval '24 h 1 min'");
    assert_ne!(submit(), first);
}

#[test]
fn a_worker_without_notifications_finds_the_row_at_its_next_poll() {
    let database = Database::new();
    let api = DaemonBuilder::on(&database).role("api").start();
    let worker = DaemonBuilder::on(&database).role("worker").slots(1).start();
    for n in 0..2 {
        // Cuts off all notification listeners.
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        let begun = Instant::now();
        let end =
            api.http().wait_through_503(&api.http().submit_surely(&n.to_string(), "print(1)", json!({})));
        assert_eq!(end["status"], "completed", "{end}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    }
    assert_eq!(worker.stop(), 0);
}

#[test]
fn a_cancel_from_another_replica_reaches_the_script_within_two_seconds() {
    let database = Database::new();
    let worker = DaemonBuilder::on(&database).role("worker").slots(1).start();
    let api = DaemonBuilder::on(&database).role("api").start();
    let http = api.http();
    // The fastest of three, because a busy machine may be slow once.
    let quickest = (0..3).map(|_| {
        let id = http.submit("import time; print('begun'); time.sleep(60)");
        http.wait_for_output(&id, "begun");
        let begun = Instant::now();
        assert_eq!(http.post(&format!("/api/v1/executions/{id}/cancel"), &json!({})).status, 202);
        http.wait_for_status(&id, "cancelled");
        begun.elapsed()
    });
    let quickest = quickest.min().unwrap();
    assert!(quickest < Duration::from_secs(2), "{quickest:?}");
    drop(worker);
}
