//! Checks alert rules and metrics with Prometheus' promtool.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{DaemonBuilder, Database};

/// From PATH, or from where `scripts/extra-tools` puts it.
fn promtool() -> Command {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/promtool");
    let path = std::env::var_os("PATH").unwrap();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("promtool"));
    let found: Option<PathBuf> = on_path.chain([own]).find(|path| path.is_file());
    Command::new(found.expect("promtool not found; `make test-extra` installs it"))
}

#[test]
fn promtool_accepts_the_alert_rules() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus/alerts.yml");
    let checked = promtool().args(["check", "rules"]).arg(rules).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn promtool_accepts_the_metrics() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).start();
    daemon.http().wait(&daemon.http().submit("print('hello')"));
    let metrics = daemon.http().get("/metrics").body;
    let mut checking = promtool()
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    checking.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let checked = checking.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
