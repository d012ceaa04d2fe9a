//! `rgridd healthcheck`, for containers and orchestrators.

use std::process::Output;
use std::time::Duration;

use crate::support::{DaemonBuilder, Database, wait_until};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn healthcheck_reports_liveness_and_why_the_daemon_is_not_ready() {
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database).slots(1);
    let mut daemon = builder.start();
    let there = builder.clone().with("RGRID_HTTP__LISTEN", daemon.url().trim_start_matches("http://"));
    let check = |what: &str| there.command(&["healthcheck", what]).output().unwrap();
    wait_until("it is ready", Duration::from_secs(30), || check("ready").status.success().then_some(()));
    let live = check("live");
    assert!(live.status.success() && said(&live).starts_with("ok (rgridd "), "{}", said(&live));

    // While it drains, it is alive but not ready.
    let id = daemon.http().submit("import time; print('begun', flush=True); time.sleep(10)");
    wait_until("the script runs", Duration::from_secs(30), || {
        (daemon.http().execution(&id)["status"] == "running").then_some(())
    });
    daemon.signal("-TERM");
    let refused = wait_until("it drains", Duration::from_secs(10), || {
        Some(check("ready")).filter(|output| !output.status.success())
    });
    assert!(said(&refused).contains("draining: this server is stopping"), "{}", said(&refused));
    assert!(check("live").status.success());

    assert_eq!(daemon.wait_for_end(), 0);
    // The former name of the command.
    let gone = there.command(&["probe"]).output().unwrap();
    assert!(
        !gone.status.success() && said(&gone).contains("no daemon responds at http://"),
        "{}",
        said(&gone)
    );
}
