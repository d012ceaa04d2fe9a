//! The daemon is killed: the script continues, and the next daemon adopts it.

use std::time::Duration;

use crate::support::{DaemonBuilder, Database, containers_of, sandboxes_of, wait_until};

const COUNTING: &str = "\
import random, time
print('run', random.randrange(10**12))
for n in range(40):
    print('line', n); time.sleep(0.1)
";

#[test]
fn a_restarted_daemon_adopts_its_execution_and_loses_no_output() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database).slots(1);
    let daemon = builder.start();
    let id = daemon.http().submit(COUNTING);
    let logs = format!("/api/v1/executions/{id}/logs");
    let before = wait_until("some output", Duration::from_secs(30), || {
        let text = daemon.http().get(&logs).body;
        text.contains("line 5").then_some(text)
    });
    let run = before.lines().next().unwrap().to_owned();
    daemon.kill_9();

    let again = builder.start();
    let end = again.http().wait(&id);
    let expected: Vec<String> = std::iter::once(run).chain((0..40).map(|n| format!("line {n}"))).collect();
    assert_eq!(end["stdout"].as_str().unwrap().lines().collect::<Vec<_>>(), expected);
    assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(1)));
}

#[test]
fn an_adoption_whose_reply_is_lost_is_repeated() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database).slots(1);
    let daemon = builder.start();
    let id = daemon.http().submit(COUNTING);
    daemon.http().wait_for_output(&id, "line 3");
    daemon.kill_9();

    let again = builder.failing("resume.answer=lose").start();
    let end = again.http().wait(&id);
    assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(1)), "{end}");
    assert_eq!(end["stdout"].as_str().unwrap().lines().count(), 41);
}

#[test]
fn a_script_that_ended_without_a_daemon_is_recorded_by_the_next_one() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database).slots(1);
    let daemon = builder.start();
    let id = daemon.http().submit("import time; print('begun'); time.sleep(1); print('ended')");
    wait_until("its first line", Duration::from_secs(30), || {
        daemon.http().get(&format!("/api/v1/executions/{id}/logs")).body.contains("begun").then_some(())
    });
    daemon.kill_9();
    // Longer than the script; the init keeps its exit event.
    std::thread::sleep(Duration::from_secs(2));

    let again = builder.start();
    let end = again.http().wait(&id);
    assert_eq!((end["stdout"].as_str(), end["attempt"].as_u64()), (Some("begun\nended\n"), Some(1)), "{end}");
}

#[test]
fn nothing_is_left_after_a_crash_and_a_restart() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database);
    let daemon = builder.start();
    daemon.http().wait(&daemon.http().submit("print(1)"));
    let cluster = database.text("SELECT cluster FROM deployment");
    wait_until("parked sandboxes", Duration::from_secs(30), || {
        (sandboxes_of(&cluster).len() == 2).then_some(())
    });
    let before = containers_of(&cluster);
    daemon.kill_9();

    let again = builder.start();
    wait_until("the old ones are gone", Duration::from_secs(30), || {
        let now = containers_of(&cluster);
        before.iter().all(|old| !now.contains(old)).then_some(())
    });
    assert_eq!(again.stop(), 0);
    assert_eq!(containers_of(&cluster), Vec::<String>::new());
}
