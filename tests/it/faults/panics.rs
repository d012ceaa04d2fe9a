//! A panic in any part of the daemon is logged and repaired, and loses nothing.

use std::time::Duration;

use crate::faults::wait_for_log;
use crate::support::{DaemonBuilder, Database, containers_of, wait_until};

fn survives(point: &str, words: &str) {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).failing(&format!("{point}=panic*2")).start();
    let http = daemon.http();
    wait_until_or_submit(&daemon, words);
    for n in 0..3 {
        let end = http.wait(&http.submit(&format!("print({n})")));
        assert_eq!(
            (end["status"].as_str(), end["stdout"].as_str()),
            (Some("completed"), Some(&*format!("{n}\n"))),
            "{end}"
        );
    }
    assert!(daemon.has_said("\"msg\":\"panic\""), "the panic itself is not in the log");
    let cluster = database.text("SELECT cluster FROM deployment");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(containers_of(&cluster), Vec::<String>::new());
}

/// Some loops reach their fail point only when there is work.
fn wait_until_or_submit(daemon: &crate::support::Daemon, words: &str) {
    daemon.http().submit("print('for the panic')");
    wait_for_log(daemon, words);
}

#[test]
fn the_poller_is_restarted_after_a_panic() {
    survives("poller.polling", "restarting after a panic");
}

#[test]
fn a_panic_between_a_claim_and_its_executor_releases_the_claim() {
    survives("poller.claimed", "released a claim whose reply was lost");
}

#[test]
fn the_heartbeat_is_restarted_after_a_panic() {
    survives("heartbeat.beating", "restarting after a panic");
}

#[test]
fn the_recorder_is_restarted_and_writes_the_interrupted_batch() {
    survives("recorder.writing", "restarting after a panic");
}

#[test]
fn the_docker_health_check_is_restarted_after_a_panic() {
    survives("engine.watching", "restarting after a panic");
}

#[test]
fn a_container_whose_removal_panicked_is_removed_later() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database).slots(1).with("RGRID_SANDBOX__PARKED", "0");
    let daemon = builder.clone().failing("reaper.removing=panic").start();
    let http = daemon.http();
    http.wait(&http.submit("print(1)"));
    crate::faults::wait_for_log(&daemon, "\"msg\":\"panic\"");
    // The stop must not wait for it forever.
    assert_eq!(daemon.stop(), 0);
    let cluster = database.text("SELECT cluster FROM deployment");
    assert_eq!(builder.start().stop(), 0);
    assert_eq!(containers_of(&cluster), Vec::<String>::new());
}

#[test]
fn an_attempt_that_panics_ends_as_internal_and_its_executor_continues() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).failing("run.following=panic").start();
    let http = daemon.http();
    let end = http.wait(&http.submit("import time; time.sleep(30)"));
    assert_eq!(
        (end["status"].as_str(), end["failure_kind"].as_str()),
        (Some("failed"), Some("internal")),
        "{end}"
    );
    let end = http.wait(&http.submit("print('next')"));
    assert_eq!(
        (end["status"].as_str(), end["stdout"].as_str()),
        (Some("completed"), Some("next\n")),
        "{end}"
    );
    assert!(daemon.has_said("an attempt panicked"));
    let cluster = database.text("SELECT cluster FROM deployment");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(containers_of(&cluster), Vec::<String>::new());
}

#[test]
fn an_actor_that_keeps_panicking_ends_the_process_and_the_next_one_takes_over() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database).slots(1);
    let api = DaemonBuilder::plain(&database).role("api").start();
    let id = api.http().submit("import time; time.sleep(6); print('done')");
    // The process may exit before it is ready.
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut dying = builder.clone().failing("heartbeat.beating=panic*99").serving();
    let mut dying = dying.stderr(log.reopen().unwrap()).spawn().unwrap();
    let ended = wait_until("it ends", Duration::from_secs(60), || dying.try_wait().unwrap());
    assert!(!ended.success());
    // If creating the sandbox took longer than the panics, the script had not started.
    let had_begun = std::fs::read_to_string(log.path()).unwrap().contains("\"msg\":\"running\"");
    let attempt = if had_begun { 1 } else { 2 };
    let end = builder.start().http().wait(&id);
    assert_eq!(
        (end["status"].as_str(), end["attempt"].as_u64()),
        (Some("completed"), Some(attempt)),
        "{end}"
    );
}

/// Many messages wait in the mailboxes while an actor restarts.
fn loses_nothing_under_load(point: &str) {
    let database = Database::new();
    let failing = format!("{point}=panic*3");
    let daemon = DaemonBuilder::on(&database).slots(3).failing(&failing).start();
    let http = daemon.http();
    let ids: Vec<String> = (0..9).map(|n| http.submit(&format!("print('number', {n})"))).collect();
    for (n, id) in ids.iter().enumerate() {
        let end = http.wait(id);
        let expected = format!("number {n}\n");
        assert_eq!(
            (end["status"].as_str(), end["attempt"].as_u64(), end["stdout"].as_str()),
            (Some("completed"), Some(1), Some(&*expected)),
            "{point}: {end}"
        );
    }
    assert!(daemon.has_said("restarting after a panic"), "{point}");
    assert_eq!(daemon.stop(), 0);
    let running = database.text("SELECT count(*)::text FROM executions WHERE status = 'running'");
    assert_eq!(running, "0", "{point}");
}

#[test]
fn poller_heartbeat_and_recorder_keep_their_mailboxes_when_they_restart() {
    for point in ["poller.polling", "heartbeat.beating", "recorder.writing"] {
        loses_nothing_under_load(point);
    }
}

#[test]
fn an_executor_that_restarts_takes_the_next_claims_from_its_mailbox() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(2).failing("run.following=panic*3").start();
    let http = daemon.http();
    let ids: Vec<String> = (0..8).map(|n| http.submit(&format!("print({n})"))).collect();
    let ends: Vec<_> = ids.iter().map(|id| http.wait(id)).collect();
    let with = |kind: Option<&str>| ends.iter().filter(|end| end["failure_kind"].as_str() == kind).count();
    assert_eq!((with(Some("internal")), with(None)), (3, 5), "{ends:?}");
    let cluster = database.text("SELECT cluster FROM deployment");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(containers_of(&cluster), Vec::<String>::new());
}
