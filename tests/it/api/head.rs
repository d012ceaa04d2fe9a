//! HEAD gets the response of GET without its body.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::support::{DaemonBuilder, Database, Http};

/// The status line and the headers without the date, which have no fixed order, and the body.
fn ask(http: &Http, method: &str, path: &str) -> (Vec<String>, Vec<u8>) {
    let mut stream = TcpStream::connect(http.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let lines = head.split("\r\n").filter(|line| !line.starts_with("date: ")).map(str::to_owned);
    let mut lines: Vec<String> = lines.collect();
    lines[1..].sort_unstable();
    (lines, answer[end + 4..].to_vec())
}

#[test]
fn head_gets_the_headers_of_get() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).slots(1).start();
    let http = daemon.http();
    let id = http.submit("open('out.txt', 'w').write('kept'); print('said')");
    assert_eq!(http.wait(&id)["status"], "completed");
    let of = |rest: &str| format!("/api/v1/executions/{id}{rest}");
    for path in [
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/docs",
        "/assets/dashboard.css",
        "/nowhere",
        "/api/v1/executions",
        "/api/v1/executions/exec_nosuch",
        "/api/v1/runtimes",
        &format!("/executions/{id}"),
        &of(""),
        &of("/logs"),
        &of("/events"),
        &of("/outputs"),
        &of("/outputs/out.txt"),
        &of("/receipt"),
    ] {
        let (expected, content) = ask(&http, "GET", path);
        assert!(!content.is_empty(), "{path}");
        assert_eq!(ask(&http, "HEAD", path), (expected, Vec::new()), "{path}");
    }
    for path in ["/", "/metrics"] {
        let (head, body) = ask(&http, "HEAD", path);
        assert!(head[0].contains(" 200 ") && body.is_empty(), "{path}: {head:?}");
    }
    let (head, body) = ask(&http, "HEAD", &of("/cancel"));
    assert!(head[0].contains(" 405 ") && head.contains(&"allow: POST".to_owned()), "{head:?}");
    assert!(body.is_empty());

    // The events of an execution that has not ended do not end either.
    let waiting = http.submit_with("pass", json!({ "on": { "no": "such worker" } }));
    let (head, body) = ask(&http, "HEAD", &format!("/api/v1/executions/{waiting}/events"));
    assert!(head.contains(&"content-type: text/event-stream".to_owned()) && body.is_empty(), "{head:?}");
    let scraped = http.get("/metrics").body;
    assert!(scraped.contains("rgrid_followers 0"), "{scraped}");
}
