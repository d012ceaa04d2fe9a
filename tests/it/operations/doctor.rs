//! `rgridd doctor` and `rgrid doctor` find problems and explain the fix; `rgridd settings` is the reference.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::support::{DaemonBuilder, Database, containers_of, wait_until};

fn doctor(database: &Database, settings: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_rgridd"))
        .arg("doctor")
        .env("RGRID_DATABASE__URL", database.url())
        .env("RGRID_DATA_DIR", folder.path())
        .env("RGRID_HTTP__LISTEN", "127.0.0.1:0")
        .env("RGRID_SANDBOX__NETWORK_NAME", "rgrid-test")
        .envs(settings.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn all_checks_pass_on_a_healthy_deployment() {
    let database = Database::new();
    let healthy = doctor(&database, &[]);
    let said = said(&healthy);
    assert!(healthy.status.success(), "{said}");
    for part in [
        "settings",
        "data directory",
        "address",
        "database",
        "connections free",
        "docker",
        "storage",
        "starts in",
    ] {
        assert!(said.contains(part), "no line about {part}:\n{said}");
    }
    assert!(said.lines().all(|line| line.starts_with("ok ")), "{said}");
    // Another doctor may be running at the same time.
    wait_until("its sandbox is gone", Duration::from_secs(30), || {
        containers_of("doctor").is_empty().then_some(())
    });
}

#[test]
fn each_problem_is_reported_with_its_fix() {
    let database = Database::new();
    let cases = [
        (("RGRID_DATA_DIR", "/proc/nowhere"), "data_dir"),
        (("RGRID_HTTP__LISTEN", "192.0.2.1:80"), "http.listen"),
        (("RGRID_SANDBOX__RUNTIME", "runnc"), "no runtime \"runnc\", only "),
        (("RGRID_INSTALL__CA_BUNDLE", "/etc/hostname"), "contains no PEM certificate"),
        (("RGRID_DATABASE__CONNECTIONS", "5000"), "lower database.connections"),
        (("RGRID_DATABASE__URL", "postgres://nobody@127.0.0.1:1/none"), "database.url"),
        (("RGRID_DOCKER__HOST", "unix:///nowhere.sock"), "docker.host"),
    ];
    for (setting, words) in cases {
        let open = ("RGRID_AUTH__I_KNOW_THIS_IS_OPEN", "true");
        let output = doctor(&database, &[setting, open]);
        let said = said(&output);
        assert!(!output.status.success(), "{setting:?}:\n{said}");
        let failed: Vec<_> = said.lines().filter(|line| line.starts_with("failed ")).collect();
        assert!(failed.iter().any(|line| line.contains(words)), "{setting:?}: {failed:?}");
    }
}

#[test]
fn the_settings_page_is_up_to_date() {
    let printed =
        Command::new(env!("CARGO_BIN_EXE_rgridd")).args(["settings", "--markdown"]).output().unwrap();
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md"))
        .unwrap_or_default();
    let fix =
        "docs/settings.md is outdated; run: cargo run -p rgridd -- settings --markdown > docs/settings.md";
    assert!(page == String::from_utf8(printed.stdout).unwrap(), "{fix}");
}

#[test]
fn the_cli_reports_a_silent_worker() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).named("here").start();
    assert_eq!(daemon.cli().run(&["doctor"]).code, 0);
    // `back` was killed too, but started again and was stopped properly.
    database.execute(
        "INSERT INTO workers (id, name, slots, started_at, last_seen, stopped_at) VALUES
         ('worker_1', 'gone', 2, now() - interval '1 hour', now() - interval '5 minutes', NULL),
         ('worker_2', 'back', 2, now() - interval '1 hour', now() - interval '20 minutes', NULL),
         ('worker_3', 'back', 2, now() - interval '10 minutes', now() - interval '5 minutes', now())",
    );
    let output = daemon.cli().run(&["doctor"]);
    assert_eq!(output.code, 1, "{output:?}");
    let failed: Vec<_> = output.stdout.lines().filter(|line| line.starts_with("failed ")).collect();
    assert_eq!(failed.len(), 1, "{output:?}");
    assert!(failed[0].starts_with("failed  worker gone: last seen "), "{output:?}");
    assert!(failed[0].ends_with("; check its host"), "{output:?}");
    assert!(output.stdout.contains("ok      worker here: 0 of 2 slots in use"), "{output:?}");
}
