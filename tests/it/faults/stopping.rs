//! SIGTERM under load, and a second one.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::wait_until_said;
use crate::support::{DaemonBuilder, Database, containers_of, wait_until};

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
    let script = |seconds: u32| format!("import time; time.sleep({seconds}); print('done')");
    let long: Vec<String> = (0..4).map(|_| http.submit(&script(25))).collect();
    let short: Vec<String> = (0..4).map(|_| http.submit(&script(2))).collect();
    let running = "SELECT count(*) FROM executions WHERE status = 'running'";
    wait_until("all eight run", Duration::from_secs(60), || (database.number(running) == 8).then_some(()));
    let late = http.submit("print('late')");
    assert_eq!(daemon.stop(), 0);

    let status = |id: &str| database.text(&format!("SELECT status FROM executions WHERE id = '{id}'"));
    assert!(short.iter().all(|id| status(id) == "completed"));
    assert!(long.iter().chain([&late]).all(|id| status(id) == "queued"));
    let cluster = database.text("SELECT cluster FROM deployment");
    assert_eq!(containers_of(&cluster), Vec::<String>::new());

    // They come before what was submitted after them.
    let other = builder.slots(4).start();
    wait_until("the long ones run", Duration::from_secs(60), || {
        long.iter().all(|id| status(id) == "running").then_some(())
    });
    assert_eq!(status(&late), "queued");
    for id in &long {
        assert_eq!(other.http().wait(id)["status"], "completed");
    }
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
    wait_until_said(&daemon, "draining");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait_for_end(), 0);
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
    assert_eq!(database.text("SELECT status FROM executions"), "queued");
}

#[test]
fn a_daemon_that_can_not_listen_says_so_and_leaves_nothing() {
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
fn a_start_that_is_called_off_leaves_nothing() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database).failing("resume.sweeping=sleep:60000");
    let mut starting = builder.serving().stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(starting.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(log.any(|line| line.contains("Docker answers")));
    wait_until("it parks", Duration::from_secs(30), || {
        (!containers_of(&database.cluster()).is_empty()).then_some(())
    });
    assert!(Command::new("kill").arg(starting.id().to_string()).status().unwrap().success());
    let ended = wait_until("it ends", Duration::from_secs(40), || starting.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
    assert_eq!(containers_of(&database.cluster()), Vec::<String>::new());
    assert!(!log.any(|line| line.contains("\"ready\"")));
}
