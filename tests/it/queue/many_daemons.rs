//! Several daemons on one database.

use std::collections::HashSet;

use crate::support::{DaemonBuilder, Database, remove_containers_of, wait_until};

#[test]
fn two_daemons_run_forty_submissions_once_each() {
    let database = Database::new();
    let (first, second) = std::thread::scope(|scope| {
        let starting = scope.spawn(|| DaemonBuilder::on(&database).with("RGRID_WORKER__NAME", "one").start());
        let second = DaemonBuilder::on(&database).with("RGRID_WORKER__NAME", "two").start();
        (starting.join().unwrap(), second)
    });
    let submit = |n: usize| {
        let http = if n.is_multiple_of(2) { first.http() } else { second.http() };
        http.submit(&format!("import random; print({n}, random.randrange(10**12))"))
    };
    let ids: Vec<String> = (0..40).map(submit).collect();

    let mut workers = HashSet::new();
    for (n, id) in ids.iter().enumerate() {
        let end = first.http().wait(id);
        assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(1)), "{end}");
        let stdout = end["stdout"].as_str().unwrap();
        assert_eq!(stdout.lines().count(), 1, "ran more than once: {stdout}");
        assert!(stdout.starts_with(&format!("{n} ")), "{stdout}");
        workers.insert(end["worker"].as_str().unwrap().to_owned());
    }
    assert_eq!(workers, HashSet::from(["one".to_owned(), "two".to_owned()]));
    let finished = "SELECT count(*) FROM executions WHERE status = 'completed' AND attempt = 1";
    assert_eq!(database.number(finished), 40);
}

#[test]
fn another_worker_rescues_the_execution_of_a_lost_one() {
    let database = Database::new();
    let lease = |builder: DaemonBuilder| builder.with("RGRID_WORKER__LEASE", "2s").slots(1);
    let first = lease(DaemonBuilder::plain(&database)).with("RGRID_WORKER__NAME", "one").start();
    let id = first.http().submit("import time; time.sleep(5); print('done')");
    wait_until("it runs", std::time::Duration::from_secs(30), || {
        (first.http().execution(&id)["status"] == "running").then_some(())
    });
    let cluster = database.text("SELECT cluster FROM deployment");
    first.kill_9();
    remove_containers_of(&cluster);

    let second = lease(DaemonBuilder::plain(&database)).with("RGRID_WORKER__NAME", "two").start();
    let end = second.http().wait(&id);
    assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(2)), "{end}");
    assert_eq!(end["worker"], "two");
}

#[test]
fn without_attempts_left_a_lost_execution_fails_as_lost() {
    let database = Database::new();
    let lease = |builder: DaemonBuilder| builder.with("RGRID_WORKER__LEASE", "2s").slots(1);
    let first = lease(DaemonBuilder::plain(&database)).start();
    let id = first
        .http()
        .submit_with("import time; print('begun'); time.sleep(30)", serde_json::json!({ "max_attempts": 1 }));
    wait_until("its first line", std::time::Duration::from_secs(30), || {
        first.http().get(&format!("/api/v1/executions/{id}/logs")).body.contains("begun").then_some(())
    });
    let cluster = database.text("SELECT cluster FROM deployment");
    first.kill_9();
    remove_containers_of(&cluster);

    let second = lease(DaemonBuilder::plain(&database)).start();
    let end = second.http().wait(&id);
    assert_eq!(
        (end["status"].as_str(), end["failure_kind"].as_str()),
        (Some("failed"), Some("lost")),
        "{end}"
    );
    assert_eq!(end["stdout"], "begun\n");
}
