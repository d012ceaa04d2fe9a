//! The daemon is killed: at random moments, between exit and record, and for longer than its lease.

use std::time::Duration;

use crate::faults::{UNTIL_ENDED, assert_counted_once, counting, end_scripts, wait_for_log};
use crate::support::{DaemonBuilder, Database, containers_of, docker, sandboxes_of, wait_until};

#[test]
fn a_daemon_killed_repeatedly_finds_its_execution_each_time_and_it_runs_once() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database).slots(1);
    let mut daemon = builder.start();
    let id = daemon.http().submit(&counting(80));
    for line in ["line 5", "line 20", "line 40"] {
        daemon.http().wait_for_output(&id, line);
        daemon.kill_9();
        daemon = builder.start();
    }
    let end = daemon.http().wait(&id);
    assert_counted_once(end["stdout"].as_str().unwrap(), 80);
    assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(1)), "{end}");
}

#[test]
fn a_daemon_killed_between_exit_and_record_records_the_result_after_its_restart() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database).slots(1);
    let mut daemon = builder.clone().failing("run.exited=die").start();
    let id = daemon.http().submit(&counting(1));
    daemon.wait_for_end();

    let again = builder.start();
    let end = again.http().wait(&id);
    assert_counted_once(end["stdout"].as_str().unwrap(), 1);
    assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(1)), "{end}");
}

#[test]
fn a_daemon_down_for_longer_than_its_lease_adopts_before_it_rescues() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database).slots(1).lease("4s");
    let daemon = builder.start();
    let id = daemon.http().submit_with(&counting(70), serde_json::json!({ "max_attempts": 1 }));
    daemon.http().wait_for_output(&id, "line 1");
    daemon.kill_9();
    let expired = "SELECT count(*) FROM executions WHERE lease_until < clock_timestamp() - interval '1 s'";
    wait_until("the lease runs out", Duration::from_secs(30), || {
        (database.number(expired) == 1).then_some(())
    });

    // Reconciliation starts only after the heartbeat.
    let again = builder.clone().failing("resume.sweeping=sleep:800").start();
    let end = again.http().wait(&id);
    assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(1)), "{end}");
    assert_counted_once(end["stdout"].as_str().unwrap(), 70);
}

/// An adopted execution needs an executor even if all slots are taken.
#[test]
fn an_executor_started_for_an_adopted_execution_retires_after_it() {
    /// Idle executors maintain their sandboxes every 20 s.
    const TIDIED: Duration = Duration::from_secs(22);
    let database = Database::new();
    let builder = DaemonBuilder::on(&database).slots(1);
    let daemon = builder.start();
    let taken_over = daemon.http().submit(&counting(40));
    daemon.http().wait_for_output(&taken_over, "line 1");
    let claimed = daemon.http().submit("import time; time.sleep(3)");
    daemon.kill_9();

    let again = builder.failing("resume.sweeping=sleep:800").start();
    for id in [&taken_over, &claimed] {
        assert_eq!(again.http().wait(id)["status"], "completed");
    }
    let log = wait_until("all of it is logged", Duration::from_secs(30), || {
        let log = again.log();
        log.iter().any(|line| line.contains("\"completed\"") && line.contains(&claimed)).then_some(log)
    });
    let of =
        |word: &str, id: &str| log.iter().position(|line| line.contains(word) && line.contains(id)).unwrap();
    assert!(of("\"re-attached\"", &taken_over) < of("\"completed\"", &claimed), "one slot was enough");
    std::thread::sleep(TIDIED);
    assert_eq!(sandboxes_of(&database.cluster()).len(), 1);
    assert_eq!(again.stop(), 0);
    assert_eq!(containers_of(&database.cluster()), Vec::<String>::new());
}

#[test]
fn a_claim_whose_reply_is_lost_is_released_at_once_and_does_not_count() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).failing("poller.answer=lose*4").start();
    let id = daemon.http().submit_with("print('once')", serde_json::json!({ "max_attempts": 1 }));
    let end = daemon.http().wait(&id);
    assert_eq!(
        (end["status"].as_str(), end["stdout"].as_str()),
        (Some("completed"), Some("once\n")),
        "{end}"
    );
    assert!(database.number("SELECT released FROM executions") > 0);
    wait_for_log(&daemon, "released a claim whose reply was lost");
}

#[test]
fn an_execution_stays_in_its_sandbox_when_another_worker_on_the_host_adopts_it() {
    let database = Database::new();
    let first = DaemonBuilder::on(&database).slots(1).lease("2s").named("one").start();
    let id = first.http().submit_with(UNTIL_ENDED, serde_json::json!({ "max_attempts": 1 }));
    first.http().wait_for_output(&id, "begun");
    first.signal("-STOP");
    // The worker is silent for a lease but its claim is not expired, so the other worker adopts instead of rescuing.
    let cluster = database.text("SELECT cluster FROM deployment");
    let keep = "UPDATE executions SET lease_until = now() + interval '1 h' WHERE status = 'running'";
    database.execute(keep);
    let second = DaemonBuilder::on(&database).slots(1).lease("2s").named("two").start();
    wait_until("the other one has it", Duration::from_secs(30), || {
        (database.text("SELECT worker_name FROM executions") == "two").then_some(())
    });
    first.signal("-CONT");
    wait_for_log(&first, "another worker follows it in the same sandbox");

    end_scripts(&cluster);
    let end = second.http().wait(&id);
    assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(1)), "{end}");
    assert_eq!(end["stdout"], "begun\ndone\n");
    assert_eq!((first.stop(), second.stop()), (0, 0));
    assert_eq!(containers_of(&cluster), Vec::<String>::new());
}

#[test]
fn nothing_that_a_kill_interrupts_is_left_behind() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database).slots(2);
    let volumes = || docker(&["volume", "ls", "-q", "--filter", "label=rgrid.init"]).lines().count();
    let daemon = builder.start();
    let before = volumes();
    let cluster = database.text("SELECT cluster FROM deployment");
    for _ in 0..4 {
        // At this moment sandboxes are being created and removed.
        daemon.http().submit("pass");
    }
    wait_until("containers", Duration::from_secs(30), || (!containers_of(&cluster).is_empty()).then_some(()));
    daemon.kill_9();

    let again = builder.start();
    let ended = "SELECT count(*) FROM executions WHERE status = 'completed'";
    wait_until("all have ended", Duration::from_secs(60), || (database.number(ended) == 4).then_some(()));
    assert_eq!(again.stop(), 0);
    assert_eq!((containers_of(&cluster), volumes()), (Vec::new(), before));
}

#[test]
fn the_doctor_reports_a_worker_that_disappeared() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database).slots(1).lease("4s").named("gone");
    let examine = || {
        let mut doctor = std::process::Command::new(env!("CARGO_BIN_EXE_rgridd"));
        doctor.arg("doctor").env("RGRID_DATABASE__URL", database.url()).env("RGRID_WORKER__LEASE", "4s");
        doctor.env("RGRID_SANDBOX__NETWORK_NAME", "rgrid-test");
        let output = doctor.output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let daemon = builder.start();
    assert!(examine().contains("ok      workers: no worker is silent"), "{}", examine());
    daemon.kill_9();
    wait_until("it is told", Duration::from_secs(30), || {
        examine().contains("warning workers: silent without having stopped: gone for").then_some(())
    });
    assert_eq!(builder.start().stop(), 0);
    assert!(examine().contains("no worker is silent"));
}
