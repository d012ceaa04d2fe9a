//! dockerd is killed without live-restore: its containers survive, but its next start stops them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::{assert_counted_once, counting, wait_for_readiness};
use crate::support::{Daemon, DaemonBuilder, Database, Engine, wait_until};

const LINES: u32 = 50;
const LEASE: &str = "10s";

fn daemon(engine: &Engine, database: &Database) -> DaemonBuilder {
    let builder = DaemonBuilder::plain(database).slots(2).lease(LEASE);
    builder.with("RGRID_DOCKER__HOST", &engine.host())
}

/// Two executions with one and two attempts, whose scripts are running.
fn start_two(daemon: &Daemon) -> [String; 2] {
    let http = daemon.http();
    let ids = [1, 2].map(|attempts| http.submit_with(&counting(LINES), json!({ "max_attempts": attempts })));
    for id in &ids {
        http.wait_for_output(id, "line 3");
    }
    ids
}

fn assert_lost_with_the_engine(end: &Value) {
    assert_eq!(
        (&end["status"], &end["failure_kind"], &end["attempt"]),
        (&json!("failed"), &json!("lost"), &json!(1)),
        "{end}"
    );
    let error = end["execution_error"].as_str().unwrap();
    assert!(error.contains("Docker engine") && !error.contains("from outside"), "{error}");
    assert!(end["stdout"].as_str().unwrap().contains("line 3\n"), "{end}");
}

fn assert_ran_again(end: &Value) {
    assert_eq!((&end["status"], &end["attempt"]), (&json!("completed"), &json!(2)), "{end}");
    assert_counted_once(end["stdout"].as_str().unwrap(), LINES);
}

fn assert_leaves_nothing(engine: &Engine, database: &Database, daemon: Daemon) {
    assert_eq!(daemon.stop(), 0);
    assert_eq!(engine.containers_of(&database.cluster()), Vec::<String>::new());
}

#[test]
fn executions_are_released_when_dockerd_stays_away_for_a_lease() {
    let (engine, database) = (Engine::take(), Database::new());
    let daemon = daemon(&engine, &database).start();
    let http = daemon.http();
    let [once, twice] = start_two(&daemon);
    engine.kill();
    assert_lost_with_the_engine(&http.wait(&once));
    wait_until("it is queued again", Duration::from_secs(30), || {
        (http.get(&format!("/api/v1/executions/{twice}")).json()["status"] == "queued").then_some(())
    });
    assert!(!daemon.is_ready());
    engine.revive();
    assert_ran_again(&http.wait(&twice));
    wait_for_readiness(&daemon, true);
    assert_leaves_nothing(&engine, &database, daemon);
}

/// As when the host restarts.
#[test]
fn a_daemon_that_dies_together_with_its_engine_finds_that_its_executions_are_lost() {
    let (engine, database) = (Engine::take(), Database::new());
    let builder = daemon(&engine, &database);
    let daemon = builder.start();
    let [once, twice] = start_two(&daemon);
    daemon.kill_9();
    engine.kill();
    engine.revive();
    let daemon = builder.start();
    let end = daemon.http().wait(&once);
    assert_eq!((&end["status"], &end["failure_kind"]), (&json!("failed"), &json!("lost")), "{end}");
    assert_ran_again(&daemon.http().wait(&twice));
    assert_leaves_nothing(&engine, &database, daemon);
}
