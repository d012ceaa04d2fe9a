//! Bad input: each kind gets its status and its words, and changes nothing.

use serde_json::{Value, json};

use crate::support::{Daemon, DaemonBuilder, Database};

fn daemon() -> (Database, Daemon) {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).start();
    (database, daemon)
}

fn with(name: &str, value: Value) -> Value {
    let mut body = json!({ "script": { "name": "s.py", "content": "print(1)" } });
    body[name] = value;
    body
}

fn files(names: &[&str]) -> Value {
    let file = |name: &&str| json!({ "name": name, "content_base64": "" });
    with("files", names.iter().map(file).collect())
}

#[test]
fn a_wrong_submission_is_told_field_by_field() {
    let (database, daemon) = daemon();
    let many = |count: usize| Value::from(vec!["x"; count]);
    let script = |name: &str, content: &str| json!({ "script": { "name": name, "content": content } });
    // The body, the field that is wrong, and a word that the message must have.
    let cases: Vec<(Value, &str, &str)> = vec![
        (json!([]), "", ""),
        (json!({}), "script", ""),
        (with("colour", json!("blue")), "colour", "unknown"),
        (script("s.py", ""), "script.content", "empty"),
        (script("s.py", "   \n"), "script.content", "empty"),
        (script("s.py", &"x".repeat((1 << 20) + 1)), "script.content", "1 MiB"),
        (script("s.py", "a\0b"), "script.content", "NUL"),
        (script("a/b.py", "x"), "script.name", "/"),
        (script("", "x"), "script.name", "empty"),
        (files(&["a/b"]), "files[0].name", "/"),
        (files(&[".."]), "files[0].name", "folder"),
        (files(&["a\0b"]), "files[0].name", "control"),
        (files(&["a\nb"]), "files[0].name", "control"),
        (files(&[&"x".repeat(256)]), "files[0].name", "255"),
        (files(&["s.py"]), "files[0].name", "script"),
        (files(&["a", "a"]), "files[1].name", "two"),
        (with("files", json!([{ "name": "a", "content_base64": "?" }])), "files[0].content_base64", "base64"),
        (files(&(0..101).map(|n| ["a", "b"][n % 2]).collect::<Vec<_>>()), "files", "100"),
        (with("args", many(1001)), "args", "1000"),
        (with("args", json!(["a\0"])), "args[0]", "NUL"),
        (with("args", json!(["x".repeat(129 << 10)])), "args", "128 KiB"),
        (with("env", json!({ "1X": "" })), "env.1X", "name"),
        (with("env", json!({ "A B": "" })), "env.A B", "name"),
        (with("env", json!({ "": "" })), "env.", "name"),
        (with("env", json!({ "=": "" })), "env.=", "name"),
        (with("env", json!({ "A": "\0" })), "env.A", "NUL"),
        (with("runtime", json!("pyton:3.11")), "runtime", "python:3.11"),
        (with("runtime", json!("python:3.11\n")), "runtime", "no runtime"),
        (with("runtime", json!("alpine:latest")), "runtime", "no runtime"),
        (with("timeout_seconds", json!(0)), "timeout_seconds", "600"),
        (with("timeout_seconds", json!(-1)), "timeout_seconds", "600"),
        (with("timeout_seconds", json!(601)), "timeout_seconds", "600"),
        (with("timeout_seconds", json!(1e300)), "timeout_seconds", "600"),
        (with("timeout_seconds", json!("soon")), "timeout_seconds", ""),
        (with("memory_mb", json!(1)), "memory_mb", ""),
        (with("memory_mb", json!(1 << 20)), "memory_mb", ""),
        (with("cpus", json!(0)), "cpus", ""),
        (with("labels", json!({ "k".repeat(1024): "v" })), "labels.", "63"),
        (with("max_attempts", json!(0)), "max_attempts", "1"),
        (with("max_attempts", json!(1000)), "max_attempts", "10"),
        (with("requirements", json!("x".repeat(65 << 10))), "requirements", "64 KiB"),
    ];
    let http = daemon.http();
    for (body, field, word) in cases {
        let answer = http.post("/api/v1/executions", &body);
        let shown = body.to_string().chars().take(120).collect::<String>();
        assert_eq!(answer.status, 422, "{shown}: {answer:?}");
        assert_eq!(answer.content_type, "application/problem+json");
        let problem = answer.json();
        let fits = |error: &Value| {
            error["field"].as_str().unwrap().starts_with(field)
                && error["message"].as_str().unwrap().contains(word)
        };
        assert!(problem["errors"].as_array().unwrap().iter().any(fits), "{shown}: {problem}");
    }
    assert_eq!(database.number("SELECT count(*) FROM executions"), 0);
}

#[test]
fn a_wrong_request_gets_its_own_status() {
    let (database, daemon) = daemon();
    let http = daemon.http();
    let post = |kind: &str, headers: &[(&str, &str)], body: &[u8]| {
        http.post_raw("/api/v1/executions", kind, headers, body).status
    };
    assert_eq!(post("application/json", &[], b"{"), 400);
    assert_eq!(post("application/json", &[], b"{\"script\": \xff}"), 400);
    assert_eq!(post("text/plain", &[], b"{}"), 415);
    let long = "k".repeat(300);
    let good = with("args", json!([])).to_string();
    assert_eq!(post("application/json", &[("idempotency-key", &long)], good.as_bytes()), 400);
    assert_eq!(post("application/json", &[], &vec![b' '; 60 << 20]), 413);
    assert_eq!(database.number("SELECT count(*) FROM executions"), 0);

    for path in
        ["exec_", "exec_0000000000000000000000zzzz", "%00", "..%2f..%2fetc", &"0".repeat(500), "exec_%25"]
    {
        assert_eq!(http.get(&format!("/api/v1/executions/{path}")).status, 404, "{path}");
    }
    for query in
        ["limit=0", "limit=-1", "limit=1e9", "limit=100000", "cursor=made-up", "status=asleep", "label=x"]
    {
        assert_eq!(http.get(&format!("/api/v1/executions?{query}")).status, 422, "{query}");
    }
    assert_eq!(http.get("/nowhere").status, 404);
    assert_eq!(http.post("/healthz", &json!({})).status, 405);
}

#[test]
fn a_prefix_that_several_share_is_told_from_one_that_nobody_has() {
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
fn the_same_key_finds_the_first_submission() {
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
fn a_full_queue_is_told_and_when_to_come_back() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).with("RGRID_QUEUE__MAX_QUEUED", "0").start();
    let answer = daemon.http().post("/api/v1/executions", &with("args", json!([])));
    assert_eq!((answer.status, answer.retry_after.as_deref()), (429, Some("1")), "{answer:?}");
    assert!(answer.json()["detail"].as_str().unwrap().contains("0 are the most"), "{answer:?}");
}
