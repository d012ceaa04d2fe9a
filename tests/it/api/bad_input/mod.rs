//! Invalid input: each kind gets its status and message, and changes nothing.

mod submissions;

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use self::submissions::{cases, with};
use crate::support::{Daemon, DaemonBuilder, Database};

fn daemon() -> (Database, Daemon) {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    (database, daemon)
}

#[test]
fn an_invalid_submission_gets_an_error_with_field_and_message() {
    let (database, daemon) = daemon();
    let http = daemon.http();
    let cases = cases();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    for (body, field, message) in cases {
        let answer = http.post("/api/v1/executions", &body);
        let shown = body.to_string().chars().take(120).collect::<String>();
        assert_eq!(
            (answer.status, answer.content_type.as_str()),
            (422, "application/problem+json"),
            "{shown}"
        );
        let expected = json!([{ "field": field, "message": message }]);
        assert_eq!(answer.json()["errors"], expected, "{shown}");
        assert_eq!(answer.json()["detail"], "the request is well-formed but invalid");
    }
    assert_eq!(database.number("SELECT count(*) FROM executions"), 0);
}

#[test]
fn all_errors_of_a_submission_are_reported_together() {
    let (_database, daemon) = daemon();
    let mut body = with("env", json!({ "1X": "", "OK": "\0" }));
    body["args"] = json!(["a\0"]);
    body["timeout_seconds"] = json!(0);
    let problem = daemon.http().post("/api/v1/executions", &body).json();
    let fields: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["args[0]", "env.1X", "env.OK", "timeout_seconds"]);
}

#[test]
fn a_body_that_is_not_a_submission_gets_a_status_for_its_kind() {
    let (database, daemon) = daemon();
    let http = daemon.http();
    let post = |kind: &str, headers: &[(&str, &str)], body: &[u8]| {
        let answer = http.post_raw("/api/v1/executions", kind, headers, body);
        (answer.status, answer.json()["detail"].as_str().unwrap().to_owned())
    };
    let json = "application/json";
    let good = with("args", json!([])).to_string();
    let error = |status: u16, detail: &str| (status, detail.to_owned());
    let no_json = |reason: &str| error(400, &format!("the body is not JSON: {reason}"));
    assert_eq!(post(json, &[], b""), no_json("EOF while parsing a value at line 1 column 0"));
    assert_eq!(post(json, &[], b"{"), no_json("EOF while parsing an object at line 1 column 1"));
    assert_eq!(post(json, &[], b"{'a': 1}"), no_json("key must be a string at line 1 column 2"));
    let twice = [good.as_bytes(), b"{}"].concat();
    let column = good.len() + 1;
    assert_eq!(post(json, &[], &twice), no_json(&format!("trailing characters at line 1 column {column}")));
    let latin = b"{\"script\": {\"name\": \"s.py\", \"content\": \"\xff\"}}";
    assert_eq!(post(json, &[], latin), no_json("invalid unicode code point at line 1 column 41"));
    assert_eq!(post(json, &[], "[".repeat(100_000).as_bytes()).0, 422);
    let deep = format!("{{\"env\": {}1{}}}", "{\"a\":".repeat(500), "}".repeat(500));
    assert_eq!(post(json, &[], deep.as_bytes()).0, 422);

    let media =
        error(415, "unsupported media type: the body must be JSON, with `Content-Type: application/json`");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"] {
        assert_eq!(post(kind, &[], good.as_bytes()), media, "{kind}");
    }
    let key = error(400, "invalid Idempotency-Key: it must have 1 to 255 visible ASCII characters");
    for value in ["k".repeat(256), String::new(), "a b".to_owned()] {
        assert_eq!(post(json, &[("idempotency-key", &value)], good.as_bytes()), key, "{value}");
    }
    let huge = "k".repeat(60_000);
    assert_eq!(post(json, &[("idempotency-key", &huge)], good.as_bytes()).0, 431);
    let large = error(
        413,
        "the request is too large: a submission has at most 51.5 MiB (files 32 MiB, script 1 MiB)",
    );
    assert_eq!(post(json, &[], &vec![b' '; 60 << 20]), large);
    assert_eq!(database.number("SELECT count(*) FROM executions"), 0);
}

#[test]
fn every_call_rejects_ids_that_do_not_exist() {
    let (_database, daemon) = daemon();
    let http = daemon.http();
    let none = "no such execution";
    let unknown = "exec_0000000000000000000000zzzz";
    let long = "0".repeat(500);
    for id in [unknown, "exec_", "%00", "..%2f..%2fetc", &long, "exec_%25", "EXEC_0", "a'--", "%ff"] {
        for rest in ["", "/logs", "/outputs", "/outputs/x"] {
            let answer = http.get(&format!("/api/v1/executions/{id}{rest}"));
            assert_eq!((answer.status, answer.json()["detail"].as_str()), (404, Some(none)), "{id}{rest}");
        }
        for call in ["cancel", "retry"] {
            let answer = http.post(&format!("/api/v1/executions/{id}/{call}"), &json!({}));
            assert_eq!((answer.status, answer.json()["detail"].as_str()), (404, Some(none)), "{id}/{call}");
        }
    }
    let id = http.submit("print(1)");
    for name in ["x", "..", "..%2f..%2fetc%2fpasswd", "%00", "%ff", &long, "a/b/c"] {
        let answer = http.get(&format!("/api/v1/executions/{id}/outputs/{name}"));
        let detail = format!("no such output file of {id}");
        assert_eq!((answer.status, answer.json()["detail"].as_str()), (404, Some(detail.as_str())), "{name}");
    }
}

#[test]
fn errors_of_queries_list_the_valid_values() {
    let (_database, daemon) = daemon();
    let http = daemon.http();
    let limit = "must be a whole number between 1 and 1000";
    let cursor = "was not issued by this server";
    let status = "unknown status \"asleep\"; available: queued, running, completed, failed, cancelled";
    let filter = "unknown filter; available: status, label, text, limit, cursor";
    let label = "\"a\\nb\" is not a valid label key: use 1 to 63 letters, digits and . _ - /, as in team";
    let stream = "unknown stream \"video\": expected stdout, stderr or install";
    let wait = "is not a number of seconds, as in wait=30";
    let id = http.submit("print(1)");
    let list = |query: &str| format!("?{query}");
    let one = |rest: &str| format!("/{id}{rest}");
    for (path, field, message) in [
        (list("limit=0"), "limit", limit),
        (list("limit=-1"), "limit", limit),
        (list("limit=1e9"), "limit", limit),
        (list("limit=100000"), "limit", limit),
        (list("limit="), "limit", limit),
        (list("cursor=made-up"), "cursor", cursor),
        (list("cursor=exec_0"), "cursor", cursor),
        (list("cursor=%00"), "cursor", cursor),
        (list(&format!("cursor={}", "0".repeat(500))), "cursor", cursor),
        (list("status=asleep"), "status", status),
        (list("label=x"), "label", "must have the form label=team=data"),
        (list("label=a%0Ab=1"), "label", label),
        (list("colour=blue"), "colour", filter),
        (one("/logs?stream=video"), "stream", stream),
        (one("?wait=soon"), "wait", &format!("\"soon\" {wait}")),
        (one("?wait=-1"), "wait", &format!("\"-1\" {wait}")),
        (one("?wait=1e9"), "wait", &format!("\"1e9\" {wait}")),
    ] {
        let answer = http.get(&format!("/api/v1/executions{path}"));
        let expected = json!([{ "field": field, "message": message }]);
        assert_eq!((answer.status, &answer.json()["errors"]), (422, &expected), "{path}");
    }
}

#[test]
fn paths_and_methods_that_do_not_exist_are_refused_and_the_server_goes_on() {
    let (_database, daemon) = daemon();
    let http = daemon.http();
    let nowhere = http.get("/nowhere");
    assert_eq!((nowhere.status, nowhere.json()["detail"].as_str()), (404, Some("no such path: /nowhere")));
    let posted = http.post("/healthz", &json!({}));
    assert_eq!(
        (posted.status, posted.json()["detail"].as_str()),
        (405, Some("the method POST is not allowed here"))
    );

    let said = |text: &str| {
        let mut raw = TcpStream::connect(http.address()).unwrap();
        raw.write_all(text.as_bytes()).unwrap();
        raw.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        raw.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    for method in ["BREW", "DELETE", "PATCH", "TRACE", "get"] {
        let answer = said(&format!("{method} /api/v1/executions HTTP/1.1\r\nhost: localhost\r\n\r\n"));
        assert!(
            answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD, POST"),
            "{method}: {answer}"
        );
    }
    for nonsense in
        ["GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\0\0\0\0\r\n\r\n", "GET / HTTP/1.1\r\na b: c\r\n\r\n"]
    {
        let answer = said(nonsense);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{nonsense:?}: {answer}");
    }
    let smuggled = "POST /api/v1/executions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n";
    assert!(said(smuggled).starts_with("HTTP/1.1 4"), "two lengths were taken");
    assert_eq!(http.get("/healthz").status, 200);
}

#[test]
fn an_ambiguous_prefix_is_not_the_same_as_an_unknown_one() {
    let (_database, daemon) = daemon();
    let http = daemon.http();
    let first = http.submit("print(1)");
    http.submit("print(2)");
    let ambiguous = http.get(&format!("/api/v1/executions/{}", &first[..8]));
    assert_eq!(ambiguous.status, 409, "{ambiguous:?}");
    assert!(ambiguous.json()["detail"].as_str().unwrap().contains('2'), "{ambiguous:?}");
    assert_eq!(http.get(&format!("/api/v1/executions/{}", &first[..30])).status, 200);
    assert_eq!(http.get("/api/v1/executions/exec_zzzz").status, 404);
}

#[test]
fn the_same_idempotency_key_returns_the_first_submission() {
    let (database, daemon) = daemon();
    let http = daemon.http();
    let (one, other) = (with("args", json!(["1"])).to_string(), with("args", json!(["2"])).to_string());
    let post = |body: &str| {
        http.post_raw("/api/v1/executions", "application/json", &[("idempotency-key", "k")], body.as_bytes())
    };
    let (first, again, reused) = (post(&one), post(&one), post(&other));
    assert_eq!((first.status, again.status, reused.status), (201, 200, 409));
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert_eq!(first.location, Some(format!("/api/v1/executions/{}", first.json()["id"].as_str().unwrap())));
    assert_eq!(database.number("SELECT count(*) FROM executions"), 1);
}

#[test]
fn a_full_queue_rejects_submissions_with_retry_after() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).with("RGRID_QUEUE__MAX_QUEUED", "0").start();
    let answer = daemon.http().post("/api/v1/executions", &with("args", json!([])));
    assert_eq!((answer.status, answer.retry_after.as_deref()), (429, Some("1")), "{answer:?}");
    assert!(
        answer.json()["detail"].as_str().unwrap().contains("at most 0 are allowed (queue.max_queued)"),
        "{answer:?}"
    );
}
