//! `/metrics` counts events, and exports every metric that the Grafana dashboard and the alerts use.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::support::{Daemon, DaemonBuilder, Database, wait_until};

fn scrape(daemon: &Daemon) -> String {
    let answer = daemon.http().get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.content_type.starts_with("text/plain; version=0.0.4"), "{}", answer.content_type);
    answer.body
}

/// The value of a series.
fn value(scraped: &str, line: &str) -> f64 {
    let found = scraped.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {line} in:\n{scraped}")).parse().unwrap()
}

#[test]
fn events_are_counted() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).slots(1).start();
    let http = daemon.http();
    http.wait(&http.submit("print('hello')"));
    http.wait(&http.submit("import sys; sys.exit(3)"));
    http.get("/api/v1/executions/exec_nosuch");
    http.get("/no/such/\"path");
    // The slot becomes free a moment after the end was reported.
    let scraped = wait_until("no execution to be running", Duration::from_secs(30), || {
        let scraped = scrape(&daemon);
        (value(&scraped, "rgrid_running") == 0.0).then_some(scraped)
    });
    assert_eq!(value(&scraped, r#"rgrid_runs_total{status="completed",failure_kind=""}"#), 1.0);
    assert_eq!(value(&scraped, r#"rgrid_runs_total{status="failed",failure_kind="exit"}"#), 1.0);
    assert_eq!(value(&scraped, "rgrid_claims_total"), 2.0);
    assert_eq!(value(&scraped, r#"rgrid_phase_seconds_count{phase="script"}"#), 2.0);
    assert_eq!(value(&scraped, r#"rgrid_output_bytes_total{stream="stdout"}"#), 6.0);
    assert_eq!(value(&scraped, "rgrid_slots"), 1.0);
    assert_eq!((value(&scraped, "rgrid_queue_depth"), value(&scraped, "rgrid_workers")), (0.0, 1.0));
    let missing = r#"rgrid_http_requests_total{method="GET",route="/api/v1/executions/{id}",status="404"}"#;
    assert_eq!(value(&scraped, missing), 1.0);
    // An unknown path creates no series.
    assert!(!scraped.contains("such"), "{scraped}");
    assert!(value(&scraped, r#"rgrid_docker_call_seconds_count{call="start"}"#) >= 1.0);
}

#[test]
fn dashboard_and_alerts_use_only_exported_metrics() {
    let database = Database::new();
    let scraped = scrape(&DaemonBuilder::plain(&database).role("api").start());
    let known: BTreeSet<&str> =
        scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for file in ["packaging/grafana/dashboard.json", "packaging/prometheus/alerts.yml"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let used: BTreeSet<&str> = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("rgrid_"))
            .map(|word| word.trim_end_matches("_bucket"))
            .collect();
        assert!(used.len() > 5, "{file}: {used:?}");
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{file} uses {unknown:?}");
    }
}
