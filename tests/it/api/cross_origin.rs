//! A server without keys serves its own host, but not the web pages that a browser there shows.

use serde_json::{Value, json};

use crate::support::{Answer, Daemon, DaemonBuilder, Database};

const EXECUTIONS: &str = "/api/v1/executions";

fn detail(answer: &Answer) -> (u16, Value) {
    (answer.status, answer.json()["detail"].clone())
}

/// Posts without a body, as any page can make a browser do without a preflight request.
fn post(daemon: &Daemon, path: &str, headers: &[(&str, &str)]) -> Answer {
    daemon.http().post_raw(path, "text/plain", headers, b"")
}

#[test]
fn a_page_of_another_site_can_neither_cancel_nor_retry_nor_submit() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).slots(1).start();
    let id = daemon.http().submit_with("import time; time.sleep(60)", json!({ "network": false }));
    let refused = (403, json!("cross-origin request rejected: other sites may not change anything here"));
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
fn a_foreign_host_name_that_resolves_here_can_read_nothing() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).slots(1).start();
    for path in [EXECUTIONS, "/", "/metrics"] {
        let answer = daemon.http().get_with(path, &[("host", "evil.example:8080")]);
        let rejected =
            "host name evil.example:8080 rejected: this server answers only to the names of its own host";
        assert_eq!(detail(&answer), (403, json!(rejected)), "{path}");
        assert_eq!(daemon.http().get_with(path, &[("host", "localhost:8080")]).status, 200, "{path}");
    }
    // Health checks may use any name.
    assert_eq!(daemon.http().get_with("/healthz", &[("host", "evil.example")]).status, 200);
}

#[test]
fn a_server_with_keys_or_behind_a_proxy_accepts_any_host_name() {
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
