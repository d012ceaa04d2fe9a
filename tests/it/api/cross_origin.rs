//! A server that is open to its own host is not open to the pages that a browser there shows.

use serde_json::{Value, json};

use crate::support::{Answer, Daemon, DaemonBuilder, Database};

const EXECUTIONS: &str = "/api/v1/executions";

fn detail(answer: &Answer) -> (u16, Value) {
    (answer.status, answer.json()["detail"].clone())
}

/// Posts without a body, as any page may have a browser do without being asked first.
fn post(daemon: &Daemon, path: &str, headers: &[(&str, &str)]) -> Answer {
    daemon.http().post_raw(path, "text/plain", headers, b"")
}

#[test]
fn a_foreign_page_can_neither_cancel_nor_retry_nor_submit() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).slots(1).start();
    let id = daemon.http().submit_with("import time; time.sleep(60)", json!({ "network": false }));
    let refused = (403, json!("a page of another site may not change anything here"));
    for call in
        [format!("{EXECUTIONS}/{id}/cancel"), format!("{EXECUTIONS}/{id}/retry"), EXECUTIONS.to_owned()]
    {
        for header in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
            assert_eq!(detail(&post(&daemon, &call, &[header])), refused, "{call} {header:?}");
        }
    }
    assert_eq!(database.number("SELECT count(*) FROM executions"), 1);
    assert_eq!(post(&daemon, &format!("{EXECUTIONS}/{id}/cancel"), &[]).status, 202);
    assert_eq!(daemon.http().wait(&id)["status"], "cancelled");
}

#[test]
fn a_foreign_name_that_points_here_reads_nothing() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).slots(1).start();
    for path in [EXECUTIONS, "/", "/metrics"] {
        let answer = daemon.http().get_with(path, &[("host", "evil.example:8080")]);
        let words = "this server is open to its own host, and evil.example:8080 is not its name";
        assert_eq!(detail(&answer), (403, json!(words)), "{path}");
        assert_eq!(daemon.http().get_with(path, &[("host", "localhost:8080")]).status, 200, "{path}");
    }
    // Who watches a daemon may ask for its health by any name.
    assert_eq!(daemon.http().get_with("/healthz", &[("host", "evil.example")]).status, 200);
}

#[test]
fn a_server_with_keys_or_behind_a_proxy_may_be_asked_by_any_name() {
    let name = [("host", "rgrid.example.org")];
    let database = Database::new();
    let behind =
        DaemonBuilder::plain(&database).with("RGRID_HTTP__TRUSTED_PROXIES", "[\"127.0.0.1\"]").start();
    assert_eq!(behind.http().get_with(EXECUTIONS, &name).status, 200);
    let builder = DaemonBuilder::plain(&database).with("RGRID_AUTH__MODE", "keys");
    let closed = builder.start();
    let http = closed.http().with_key(&builder.key("ann", "read"));
    assert_eq!(http.get_with(EXECUTIONS, &name).status, 200);
}
