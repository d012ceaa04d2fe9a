//! dockerd is killed and starts again, or hangs.

use std::time::{Duration, Instant};

use crate::faults::{assert_counted_once, counting, wait_for_readiness};
use crate::support::{DaemonBuilder, Database, Engine, wait_until};

/// A lost engine counts as a lost worker.
#[test]
fn executions_run_again_within_their_attempts_when_dockerd_restarts() {
    let (engine, database) = (Engine::take(), Database::new());
    let daemon = DaemonBuilder::on(&database).slots(2).with("RGRID_DOCKER__HOST", &engine.host()).start();
    let http = daemon.http();
    let submit = |attempts: u32| {
        let script = "import time; print('begun'); time.sleep(5); print('ended')";
        let id = http.submit_with(script, serde_json::json!({ "max_attempts": attempts }));
        http.wait_for_output(&id, "begun");
        id
    };
    let (once, twice) = (submit(1), submit(2));
    let before = daemon.holdings();
    engine.kill();
    let queued = http.submit(&counting(1));
    wait_for_readiness(&daemon, false);
    engine.revive();

    let end = http.wait(&once);
    assert_eq!(
        (end["status"].as_str(), end["failure_kind"].as_str()),
        (Some("failed"), Some("lost")),
        "{end}"
    );
    assert_eq!(end["stdout"], "begun\n");
    let error = end["execution_error"].as_str().unwrap();
    assert!(error.contains("lost its Docker engine") && error.contains("(attempt 1 of 1)"), "{error}");
    let end = http.wait(&twice);
    assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(2)), "{end}");
    assert_eq!(end["stdout"], "begun\nended\n");
    let end = http.wait(&queued);
    assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(1)), "{end}");
    assert_counted_once(end["stdout"].as_str().unwrap(), 1);
    wait_for_readiness(&daemon, true);
    daemon.assert_holds_no_more_than(before);
    let cluster = database.text("SELECT cluster FROM deployment");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(engine.containers_of(&cluster), Vec::<String>::new());
}

#[test]
fn deadlines_hold_and_readiness_fails_while_dockerd_hangs() {
    let (engine, database) = (Engine::take(), Database::new());
    let daemon = DaemonBuilder::on(&database).slots(2).with("RGRID_DOCKER__HOST", &engine.host()).start();
    let http = daemon.http();
    let forever = "import time\nprint('begun')\nwhile True: time.sleep(1)";
    let id = http.submit_with(forever, serde_json::json!({ "timeout_seconds": 5 }));
    http.wait_for_output(&id, "begun");
    let before = daemon.holdings();
    engine.freeze();
    let waiting: Vec<String> = (0..6).map(|_| http.submit(&counting(1))).collect();
    wait_for_readiness(&daemon, false);
    // The test depends on the length of the hang.
    let frozen = Instant::now();
    wait_until("thirty seconds", Duration::from_secs(60), || {
        let now = daemon.holdings();
        assert!(now.descriptors < before.descriptors + 60 && now.threads < before.threads + 40, "{now:?}");
        (frozen.elapsed() > Duration::from_secs(30)).then_some(())
    });
    engine.thaw();

    let end = http.wait(&id);
    assert_eq!(
        (end["status"].as_str(), end["failure_kind"].as_str()),
        (Some("failed"), Some("timeout")),
        "{end}"
    );
    // The init enforced the deadline although it could not report it.
    let said = end["execution_error"].as_str().unwrap();
    assert!(said.contains("time limit of 5s") && !said.contains("from outside"), "{said}");
    for id in waiting {
        let end = http.wait(&id);
        assert_eq!(end["status"], "completed", "{end}");
    }
    wait_for_readiness(&daemon, true);
    daemon.assert_holds_no_more_than(before);
}

#[test]
fn a_daemon_stops_at_once_while_dockerd_hangs() {
    let (engine, database) = (Engine::take(), Database::new());
    let builder = DaemonBuilder::on(&database).slots(1).with("RGRID_DOCKER__HOST", &engine.host());
    let mut daemon = builder.start();
    let id = daemon.http().submit("import time; print('begun'); time.sleep(2); print('end')");
    daemon.http().wait_for_output(&id, "begun");
    engine.freeze();
    daemon.signal("-TERM");
    crate::faults::wait_for_log(&daemon, "draining");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait_for_end(), 0);
    engine.thaw();
    let end = builder.start().http().wait(&id);
    assert_eq!(
        (end["status"].as_str(), end["stdout"].as_str()),
        (Some("completed"), Some("begun\nend\n")),
        "{end}"
    );
}
