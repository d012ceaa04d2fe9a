//! SIGTERM under load, and a second signal.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::faults::{UNTIL_ENDED, assert_counted_once, counting, end_scripts, wait_for_log};
use crate::support::{DaemonBuilder, Database, containers_of, docker, wait_until};

#[test]
fn sigterm_under_load_finishes_short_runs_releases_long_ones_and_keeps_their_place() {
    let database = Database::new();
    let temporary = tempfile::tempdir().unwrap();
    let builder = DaemonBuilder::on(&database)
        .slots(8)
        .with("RGRID_WORKER__DRAIN_TIMEOUT", "6s")
        .with("TMPDIR", temporary.path().to_str().unwrap());
    let daemon = builder.start();
    let http = daemon.http();
    let short = "import time; print('begun'); time.sleep(4); print('done')";
    let long: Vec<String> = (0..4).map(|_| http.submit(UNTIL_ENDED)).collect();
    let short: Vec<String> = (0..4).map(|_| http.submit(short)).collect();
    long.iter().chain(&short).for_each(|id| drop(http.wait_for_output(id, "begun")));
    let late = http.submit("print('late')");
    assert_eq!(daemon.stop(), 0);

    let status = |id: &str| database.text(&format!("SELECT status FROM executions WHERE id = '{id}'"));
    assert!(short.iter().all(|id| status(id) == "completed"));
    assert!(long.iter().chain([&late]).all(|id| status(id) == "queued"));
    let cluster = database.text("SELECT cluster FROM deployment");
    assert_eq!(containers_of(&cluster), Vec::<String>::new());

    // They run before later submissions.
    let other = builder.slots(4).start();
    wait_until("the long ones run", Duration::from_secs(60), || {
        long.iter().all(|id| status(id) == "running").then_some(())
    });
    assert_eq!(status(&late), "queued");
    wait_until("the long ones end", Duration::from_secs(60), || {
        end_scripts(&cluster);
        long.iter().all(|id| status(id) == "completed").then_some(())
    });
    assert_eq!(database.number("SELECT max(attempt - released) FROM executions"), 2);
    assert_eq!(other.stop(), 0);
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "temporary files are left");
}

#[test]
fn a_second_sigterm_skips_the_wait() {
    let database = Database::new();
    let mut daemon = DaemonBuilder::on(&database).slots(1).with("RGRID_WORKER__DRAIN_TIMEOUT", "5m").start();
    let id = daemon.http().submit("import time; print('begun'); time.sleep(120)");
    daemon.http().wait_for_output(&id, "begun");
    let begun = Instant::now();
    daemon.signal("-TERM");
    wait_for_log(&daemon, "draining");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait_for_end(), 0);
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
    assert_eq!(database.text("SELECT status FROM executions"), "queued");
}

#[test]
fn a_daemon_that_cannot_listen_reports_it_and_leaves_nothing_behind() {
    let database = Database::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = DaemonBuilder::on(&database).slots(2).with("RGRID_HTTP__LISTEN", &address).serving();
    let output = command.stderr(std::process::Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("is another rgridd running there?"), "{said}");
    let cluster = database.text("SELECT cluster FROM deployment");
    assert_eq!(containers_of(&cluster), Vec::<String>::new());
    assert_eq!(database.number("SELECT count(*) FROM workers WHERE stopped_at IS NULL"), 0);
}

#[test]
fn an_aborted_start_leaves_nothing_behind() {
    let database = Database::new();
    abort_start(&database, &DaemonBuilder::on(&database));
    assert_eq!(containers_of(&database.cluster()), Vec::<String>::new());
}

/// Stops a daemon that has parked sandboxes but not reconciled containers yet.
fn abort_start(database: &Database, builder: &DaemonBuilder) {
    let mut command = builder.clone().failing("resume.sweeping=sleep:60000").serving();
    let mut starting = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(starting.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(log.any(|line| line.contains("connected to Docker")));
    wait_until("it parks", Duration::from_secs(30), || {
        (!containers_of(&database.cluster()).is_empty()).then_some(())
    });
    assert!(Command::new("kill").arg(starting.id().to_string()).status().unwrap().success());
    let ended = wait_until("it ends", Duration::from_secs(40), || starting.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
    assert!(!log.any(|line| line.contains("\"ready\"")));
}

#[test]
fn an_aborted_start_leaves_an_earlier_execution_in_its_sandbox() {
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database).slots(1);
    let daemon = builder.start();
    let id = daemon.http().submit(&counting(100));
    daemon.http().wait_for_output(&id, "line 1");
    daemon.kill_9();

    abort_start(&database, &builder);
    // No other worker may consider it abandoned.
    assert_eq!(database.number("SELECT count(*) FROM executions WHERE lease_until > clock_timestamp()"), 1);
    let end = builder.start().http().wait(&id);
    assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(1)), "{end}");
    assert_counted_once(end["stdout"].as_str().unwrap(), 100);
}

/// Docker completes a request even if its client is gone or did not get the response.
#[test]
fn a_container_whose_creation_was_not_confirmed_is_removed_at_the_stop() {
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database).slots(1);
    let make = |worker: &str| {
        let cluster = format!("rgrid.cluster={}", database.cluster());
        let worker = format!("rgrid.worker={worker}");
        let image = "python:3.11-slim";
        docker(&["create", "--label", &cluster, "--label", &worker, image]);
    };
    let own =
        || database.text("SELECT id FROM workers WHERE stopped_at IS NULL ORDER BY started_at DESC LIMIT 1");
    let killed = builder.start();
    let before = own();
    killed.kill_9();

    let daemon = builder.start();
    let now = own();
    assert_ne!(before, now);
    make(&before);
    make(&now);
    assert_eq!(containers_of(&database.cluster()).len(), 2);
    assert_eq!(daemon.stop(), 0);
    assert_eq!(containers_of(&database.cluster()), Vec::<String>::new());
}
