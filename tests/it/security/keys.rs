//! API keys: authentication, scopes, and which executions each key sees.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::{Daemon, DaemonBuilder, Database, Events, Http, wait_until};

/// A daemon with `auth.mode = "keys"`.
fn daemon_with_keys() -> (Database, DaemonBuilder, Daemon) {
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database).with("RGRID_AUTH__MODE", "keys");
    let daemon = builder.start();
    (database, builder, daemon)
}

fn id_of(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

fn revoke(builder: &DaemonBuilder, key: &str) {
    assert!(builder.command(&["keys", "revoke", id_of(key)]).output().unwrap().status.success());
}

/// Every call for one execution.
fn calls_about(http: &Http, id: &str) -> Vec<(String, u16)> {
    let get = |path: String| {
        let status = http.get(&format!("/api/v1/executions/{path}")).status;
        (format!("GET {path}"), status)
    };
    let post = |path: String| {
        let status = http.post(&format!("/api/v1/executions/{path}"), &json!({})).status;
        (format!("POST {path}"), status)
    };
    vec![
        get(id.to_owned()),
        get(id[..20].to_owned()),
        get(format!("{id}?wait=1")),
        get(format!("{id}/logs")),
        get(format!("{id}/logs?stream=stderr")),
        get(format!("{id}/logs?stream=install")),
        get(format!("{id}/events")),
        get(format!("{id}/receipt")),
        get(format!("{id}/outputs")),
        get(format!("{id}/outputs/out.txt")),
        post(format!("{id}/cancel")),
        post(format!("{id}/retry")),
    ]
}

#[test]
fn no_call_shows_the_executions_of_another_key() {
    let (_database, builder, daemon) = daemon_with_keys();
    let [ann, bob] = ["ann", "bob"].map(|name| daemon.http().with_key(&builder.key(name, "read,run")));
    let id = ann.submit("open('out.txt', 'w').write('ann'); print('secret of ann')");
    assert_eq!(ann.wait(&id)["status"], "completed");

    for (call, status) in calls_about(&bob, &id) {
        assert_eq!(status, 404, "{call}");
    }
    assert_eq!(bob.get("/api/v1/executions").json()["items"], json!([]));
    for query in ["status=completed", &format!("cursor={}", "exec_".to_owned() + &"z".repeat(26))] {
        assert_eq!(bob.get(&format!("/api/v1/executions?{query}")).json()["items"], json!([]), "{query}");
    }
    // A prefix of other keys' executions looks like an unknown one.
    bob.submit("print(1)");
    assert_eq!(bob.get("/api/v1/executions/exec_0").status, 200);

    // Ann sees all of her own; an ended execution cannot be cancelled.
    let own: Vec<u16> = calls_about(&ann, &id).into_iter().map(|(_, status)| status).collect();
    assert_eq!(own, [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 409, 201]);

    let admin = daemon.http().with_key(&builder.key("root", "admin"));
    assert_eq!(admin.get("/api/v1/executions").json()["items"].as_array().unwrap().len(), 3);
    assert_eq!(admin.execution(&id)["stdout"], "secret of ann\n");
}

/// A unit test in `src/http/server.rs` checks that the OpenAPI document contains every endpoint.
#[test]
fn every_call_of_the_openapi_document_checks_the_key() {
    let (_database, builder, daemon) = daemon_with_keys();
    let [ann, bob] = ["ann", "bob"].map(|name| daemon.http().with_key(&builder.key(name, "read,run")));
    let id = ann.submit("open('out.txt', 'w').write('ann')");
    assert_eq!(ann.wait(&id)["status"], "completed");
    let document = daemon.http().get("/openapi.json").json();
    let mut with_id = 0;
    for (path, calls) in document["paths"].as_object().unwrap() {
        for method in calls.as_object().unwrap().keys() {
            let url = path.replace("{id}", &id).replace("{name}", "out.txt");
            let status = |http: &Http| match method.as_str() {
                "get" => http.get(&url).status,
                "post" => http.post(&url, &json!({})).status,
                other => panic!("add {other} to this test"),
            };
            let is_open = ["/healthz", "/readyz", "/openapi.json"].contains(&path.as_str());
            assert_eq!(status(&daemon.http()), if is_open { 200 } else { 401 }, "{method} {path}");
            if path.contains("{id}") {
                assert_eq!(status(&bob), 404, "{method} {path}");
                with_id += 1;
            }
        }
    }
    assert!(with_id >= 8, "only {with_id} calls for one execution");
}

/// HTTP Basic, as a browser sends it.
fn password(key: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("anybody:{key}")))
}

/// Every page and call of the dashboard for one execution.
fn pages_about(http: &Http, key: &str, id: &str) -> Vec<(String, u16)> {
    let password = password(key);
    let key = [("authorization", password.as_str()), ("x-rgrid-dashboard", "1")];
    let get = |rest: &str| {
        let path = format!("/executions/{id}{rest}");
        let status = http.get_with(&path, &key).status;
        (path, status)
    };
    let post = |rest: &str| {
        let path = format!("/executions/{id}{rest}");
        let status = http.post_raw(&path, "application/json", &key, b"").status;
        (path, status)
    };
    vec![get(""), get("?part"), get("/events"), get("/outputs/out.txt"), post("/cancel"), post("/retry")]
}

#[test]
fn the_dashboard_needs_a_key_and_shows_only_its_executions() {
    let (_database, builder, daemon) = daemon_with_keys();
    let http = daemon.http();
    let open = http.get("/docs");
    assert!(open.status == 200 && open.body.contains("POST /api/v1/executions"), "{open:?}");
    let [ann, bob] = ["ann", "bob"].map(|name| builder.key(name, "read,run"));
    for path in ["/", "/executions/exec_0", "/assets/dashboard.js", "/metrics"] {
        let refused = http.get(path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.authenticate.unwrap().starts_with("Basic realm="), "{path}");
    }
    let api = http.with_key(&ann);
    let id = api.submit("open('out.txt', 'w').write('ann')");
    assert_eq!(api.wait(&id)["status"], "completed");

    let page = |key: &str| http.get_with("/", &[("authorization", &password(key))]);
    assert!(page(&ann).status == 200 && page(&ann).body.contains(&id));
    assert!(page(&bob).status == 200 && !page(&bob).body.contains(&id));
    for (call, status) in pages_about(&http, &bob, &id) {
        assert_eq!(status, 404, "{call}");
    }
    let own: Vec<u16> = pages_about(&http, &ann, &id).into_iter().map(|(_, status)| status).collect();
    assert_eq!(own, [200, 200, 200, 200, 409, 201]);
    assert_eq!(api.get(&format!("/executions/{id}")).status, 200);
    assert_eq!(api.get("/metrics").status, 200);
}

#[test]
fn credentials_that_a_browser_sends_by_itself_change_nothing() {
    let (_database, builder, daemon) = daemon_with_keys();
    let [key, reader] = ["run", "read"].map(|scope| password(&builder.key("ann", scope)));
    let (key, reader) = ([("authorization", key.as_str())], [("authorization", reader.as_str())]);
    // The API does not accept HTTP Basic, and the dashboard needs a header that other sites cannot send.
    let http = daemon.http();
    assert_eq!(http.get_with("/api/v1/executions", &key).status, 401);
    assert_eq!(http.post_raw("/api/v1/executions/exec_0/cancel", "text/plain", &key, b"").status, 401);
    assert_eq!(http.post_raw("/executions/exec_0/cancel", "text/plain", &key, b"").status, 400);
    let own = [reader[0], ("x-rgrid-dashboard", "1")];
    assert_eq!(http.post_raw("/executions/exec_0/cancel", "text/plain", &own, b"").status, 403);
}

#[test]
fn idempotency_keys_are_separate_for_each_api_key() {
    let (_database, builder, daemon) = daemon_with_keys();
    let body = json!({ "script": { "name": "s.py", "content": "print(1)" } }).to_string();
    let submit = |key: &str| {
        let http = daemon.http().with_key(key);
        let answer = http.post_raw(
            "/api/v1/executions",
            "application/json",
            &[("idempotency-key", "same")],
            body.as_bytes(),
        );
        (answer.status, answer.json()["id"].as_str().unwrap().to_owned())
    };
    let (ann, bob) = (builder.key("ann", "run"), builder.key("bob", "run"));
    let first = submit(&ann);
    assert_eq!(first.0, 201);
    assert_eq!(submit(&ann), (200, first.1.clone()));
    let other = submit(&bob);
    assert!(other.0 == 201 && other.1 != first.1, "{other:?}");
}

#[test]
fn a_revoked_key_fails_on_the_next_request() {
    let (_database, builder, daemon) = daemon_with_keys();
    let key = builder.key("ann", "read,run");
    let http = daemon.http().with_key(&key);
    assert_eq!(http.get("/api/v1/runtimes").status, 200);
    revoke(&builder, &key);
    let refused = http.get("/api/v1/runtimes");
    assert_eq!((refused.status, refused.content_type.as_str()), (401, "application/problem+json"));
    assert_eq!(refused.json()["detail"], "the API key has been revoked");
    assert_eq!(http.post("/api/v1/executions", &json!({})).status, 401);
}

/// Follows until the connection ends. Returns whether the last message was `end`, and how long it took.
fn follow(daemon: &Daemon, id: &str, key: &str) -> std::thread::JoinHandle<(bool, Duration)> {
    let mut events = Events::with_key(&daemon.url(), id, key);
    assert_eq!((events.status, events.next().unwrap().name.as_str()), (200, "status"));
    let start = Instant::now();
    std::thread::spawn(move || (events.last().is_some_and(|event| event.name == "end"), start.elapsed()))
}

#[test]
fn event_streams_end_soon_after_their_key_is_revoked() {
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database).with("RGRID_AUTH__MODE", "keys").slots(1);
    let daemon = builder.start();
    let [key, admin] = [builder.key("ann", "read,run"), builder.key("root", "admin")];
    let http = daemon.http().with_key(&key);
    // One stream always has something to send, and the other one nothing.
    let chatty = http.submit("import time\nwhile True: print('x', flush=True); time.sleep(0.2)");
    http.wait_for_output(&chatty, "x");
    let queued = http.submit("print(1)");
    let followers = [&chatty, &queued].map(|id| follow(&daemon, id, &key));
    let other = follow(&daemon, &chatty, &admin);
    revoke(&builder, &key);
    let revoked = Instant::now();
    wait_until("the streams to end", Duration::from_secs(40), || {
        followers.iter().all(|follower| follower.is_finished()).then_some(())
    });
    assert!(revoked.elapsed() < Duration::from_secs(25), "{:?}", revoked.elapsed());
    for follower in followers {
        assert!(!follower.join().unwrap().0, "the execution has not ended");
    }
    assert!(!other.is_finished(), "the stream of another key");
    let root = daemon.http().with_key(&admin);
    for id in [&queued, &chatty] {
        root.post(&format!("/api/v1/executions/{id}/cancel"), &json!({}));
    }
    assert!(other.join().unwrap().0);
}

#[test]
fn a_request_that_takes_long_fails_if_its_key_is_revoked_meanwhile() {
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database).role("api").with("RGRID_AUTH__MODE", "keys");
    let daemon = builder.start();
    let key = builder.key("ann", "read,run");
    let http = daemon.http().with_key(&key);
    let id = http.submit("print(1)");
    let waiting = std::thread::spawn({
        let http = daemon.http().with_key(&key);
        move || http.get(&format!("/api/v1/executions/{id}?wait=4")).status
    });
    let body = json!({ "script": { "name": "s.py", "content": "print(2)" } }).to_string();
    let (first, rest) = body.split_at(5);
    let mut slow = TcpStream::connect(http.address()).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(
        slow,
        "POST /api/v1/executions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{first}",
        body.len()
    )
    .unwrap();
    // Long enough to count as slow.
    std::thread::sleep(Duration::from_millis(1500));
    revoke(&builder, &key);
    slow.write_all(rest.as_bytes()).unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
    assert_eq!(waiting.join().unwrap(), 401);
    assert_eq!(database.number("SELECT count(*) FROM executions"), 1);
}

#[test]
fn only_the_holder_of_an_expired_key_can_tell_it_from_an_unknown_one() {
    let (database, builder, daemon) = daemon_with_keys();
    let key = builder.key("ann", "read");
    let detail = |key: &str| daemon.http().with_key(key).get("/api/v1/runtimes").json()["detail"].clone();
    database.execute("UPDATE api_keys SET expires_at = now() - interval '1 s'");
    assert_eq!(detail(&key), "the API key has expired");
    let wrong = format!("{}{}", &key[..key.len() - 4], if key.ends_with("0000") { "1111" } else { "0000" });
    assert_eq!(detail(&wrong), "unknown API key");
}

#[test]
fn without_a_valid_key_only_health_checks_answer() {
    let (database, builder, daemon) = daemon_with_keys();
    let (http, key) = (daemon.http(), builder.key("ann", "read"));
    let asked = |headers: &[(&str, &str)]| {
        let answer = http.get_with("/api/v1/executions", headers);
        (answer.status, answer.json()["detail"].as_str().unwrap_or_default().to_owned())
    };
    let bearer = format!("Bearer {key}");
    let unknown = format!("Bearer rg_000000000000_{}", "0".repeat(64));
    let form = "the Authorization header has no key of the form `Bearer rg_…`".to_owned();
    assert_eq!(asked(&[]), (401, "the request has no API key; this server needs one".to_owned()));
    assert_eq!(asked(&[("authorization", "Bearer")]), (401, form.clone()));
    assert_eq!(asked(&[("authorization", "Bearer rg_x")]), (401, form.clone()));
    assert_eq!(asked(&[("authorization", &bearer.replace("Bearer", "Basic"))]), (401, form.clone()));
    assert_eq!(asked(&[("authorization", &format!("Bearer {}", "k".repeat(8000)))]), (401, form));
    assert_eq!(asked(&[("authorization", &unknown)]), (401, "unknown API key".to_owned()));
    let twice = "the request has two Authorization headers; send one".to_owned();
    assert_eq!(asked(&[("authorization", &bearer), ("authorization", &bearer)]), (401, twice));
    assert_eq!(asked(&[("authorization", &bearer)]).0, 200);
    assert_eq!(asked(&[("authorization", &bearer.replace("Bearer", "bearer"))]).0, 200);

    // Unknown paths look the same as existing ones.
    assert_eq!(http.get("/api/v1/nowhere").status, 401);
    assert_eq!(http.get("/healthz").status, 200);
    assert_eq!(http.get("/readyz").status, 200);
    assert_eq!(database.number("SELECT count(*) FROM executions"), 0);
    let log = daemon.log().join("\n");
    assert!(log.contains("request rejected") && log.contains("127.0.0.1"), "{log}");
    assert!(!log.contains(key.rsplit('_').next().unwrap()), "a key is in the log");
}

#[test]
fn a_key_can_do_only_what_its_scopes_allow() {
    let (_database, builder, daemon) = daemon_with_keys();
    let submission = json!({ "script": { "name": "s.py", "content": "print(1)" } });
    let statuses = |scopes: &str| {
        let http = daemon.http().with_key(&builder.key("k", scopes));
        let submitted = http.post("/api/v1/executions", &submission);
        if submitted.status == 403 {
            assert_eq!(submitted.json()["detail"], "the API key lacks the scope run");
        }
        (http.get("/api/v1/executions").status, submitted.status)
    };
    assert_eq!(statuses("read"), (200, 403));
    assert_eq!(statuses("run"), (403, 201));
    assert_eq!(statuses("read,run"), (200, 201));
    assert_eq!(statuses("admin"), (200, 201));
}

#[test]
fn the_list_of_keys_shows_state_and_last_use_but_no_secret() {
    let (database, builder, daemon) = daemon_with_keys();
    let (used, revoked) = (builder.key("used", "read"), builder.key("revoked", "admin"));
    revoke(&builder, &revoked);
    daemon.http().with_key(&used).get("/api/v1/runtimes");
    let list =
        |arguments: &[&str]| String::from_utf8(builder.command(arguments).output().unwrap().stdout).unwrap();
    let (table, document) = (list(&["keys", "list"]), list(&["keys", "list", "--json"]));
    for key in [&used, &revoked] {
        let secret = key.rsplit('_').next().unwrap();
        assert!(
            table.contains(id_of(key)) && !table.contains(secret) && !document.contains(secret),
            "{table}"
        );
    }
    let listed: Value = serde_json::from_str(&document).unwrap();
    let field = |name: &str| [0, 1].map(|at| listed["items"][at][name].clone());
    assert_eq!(field("state"), [json!("valid"), json!("revoked")]);
    assert_eq!(field("scopes"), [json!(["read"]), json!(["admin"])]);
    assert!(field("last_used_at")[0].is_string() && field("last_used_at")[1].is_null(), "{listed}");

    // A second use within a minute does not write the row.
    let written = || database.text(&format!("SELECT xmin FROM api_keys WHERE id = '{}'", id_of(&used)));
    let before = written();
    daemon.http().with_key(&used).get("/api/v1/runtimes");
    assert_eq!(written(), before);
    database.execute("UPDATE api_keys SET last_used_at = now() - interval '61 s'");
    daemon.http().with_key(&used).get("/api/v1/runtimes");
    assert_eq!(
        database.number("SELECT count(*) FROM api_keys WHERE last_used_at > now() - interval '30 s'"),
        1
    );
    assert_eq!(database.number("SELECT count(*) FROM api_keys WHERE length(secret_sha256) = 32"), 2);
}

#[test]
fn invalid_key_commands_explain_the_error() {
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database);
    let said = |arguments: &[&str]| {
        let output = builder.command(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said(&["keys", "revoke", "0123456789ab"]).contains("key 0123456789ab does not exist"));
    assert!(said(&["keys", "revoke", "nonsense"]).contains("is not the ID of a key"));
    assert!(
        said(&["keys", "create", "--name", "x", "--scope", "root"]).contains("expected read, run or admin")
    );
    assert!(said(&["keys", "create", "--name", "a\nb"]).contains("control characters"));
    assert!(said(&["keys", "create", "--name", "x", "--expires", "soon"]).contains("invalid duration"));
}

#[test]
fn keys_can_be_created_while_the_daemon_runs_the_embedded_postgres() {
    let builder = DaemonBuilder::new().with("RGRID_AUTH__MODE", "keys");
    for arguments in [&["keys", "list"][..], &["keys", "revoke", "0123456789ab"]] {
        let refused = builder.command(arguments).output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains("error: there is no database in "), "{said}");
    }
    let before = builder.key("before the first start", "read");
    let daemon = builder.start();
    let beside = builder.key("beside", "read");
    for key in [before, beside] {
        assert_eq!(daemon.http().with_key(&key).get("/api/v1/runtimes").status, 200);
    }
}

#[test]
fn a_public_address_needs_keys_or_an_explicit_setting() {
    let database = Database::new();
    let open = |builder: DaemonBuilder| builder.with("RGRID_HTTP__LISTEN", "0.0.0.0:0");
    let refused = open(DaemonBuilder::plain(&database)).command(&["serve"]).output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("http.listen") && said.contains("auth.mode = \"keys\""), "{said}");
    let with_keys = open(DaemonBuilder::plain(&database).with("RGRID_AUTH__MODE", "keys")).start();
    let said = wait_until("the warning that there is no key", Duration::from_secs(10), || {
        with_keys.log().into_iter().find(|line| line.contains("there are no API keys yet"))
    });
    assert!(said.contains("rgridd keys create"), "{said}");
    assert_eq!(with_keys.stop(), 0);
}

#[test]
fn requests_beyond_the_rate_limit_get_retry_after() {
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database)
        .with("RGRID_AUTH__MODE", "keys")
        .with("RGRID_HTTP__RATE_LIMIT", "0.01")
        .with("RGRID_HTTP__RATE_BURST", "3");
    let daemon = builder.start();
    let [ann, bob] = ["ann", "bob"].map(|name| daemon.http().with_key(&builder.key(name, "read")));
    let answers: Vec<_> = (0..4).map(|_| ann.get("/api/v1/runtimes")).collect();
    assert_eq!(answers.iter().map(|a| a.status).collect::<Vec<_>>(), [200, 200, 200, 429]);
    let last = answers.last().unwrap();
    let wait: u64 = last.retry_after.as_deref().unwrap().parse().unwrap();
    assert!((90..=100).contains(&wait), "{last:?}");
    let expected = "rate limit exceeded: at most 0.01 requests per second (3 at once) are allowed per client (http.rate_limit)";
    assert_eq!(last.json()["detail"], expected);
    assert_eq!(bob.get("/api/v1/runtimes").status, 200);
    assert_eq!(ann.get("/healthz").status, 200);
}

#[test]
fn wrong_keys_are_limited_per_address_before_they_are_looked_up() {
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database)
        .role("api")
        .with("RGRID_AUTH__MODE", "keys")
        .with("RGRID_HTTP__TRUSTED_PROXIES", "[\"127.0.0.1\"]");
    let daemon = builder.start();
    let ask = |key: &str, address: &str| {
        let headers = [("authorization", &*format!("Bearer {key}")), ("x-forwarded-for", address)];
        daemon.http().get_with("/api/v1/runtimes", &headers)
    };
    let [ann, bob] = ["ann", "bob"].map(|name| builder.key(name, "read"));
    assert_eq!(ask(&ann, "192.0.2.1").status, 200);
    let wrong = |number: u32| format!("rg_{number:012}_{}", "0".repeat(64));
    let answers: Vec<_> = (0..200).map(|number| ask(&wrong(number), "192.0.2.1")).collect();
    let unknown = answers.iter().filter(|answer| answer.status == 401).count();
    assert!((1..=100).contains(&unknown), "{unknown} keys were looked up");
    let last = answers.last().unwrap();
    assert_eq!((last.status, last.retry_after.as_deref()), (429, Some("1")), "{last:?}");
    assert_eq!(last.json()["detail"], "too many wrong API keys from this address");

    // Uses the only token, so that the next one is a second away.
    wait_until("another look-up", Duration::from_secs(10), || {
        (ask(&wrong(999), "192.0.2.1").status == 401).then_some(())
    });
    assert_eq!(ask(&bob, "192.0.2.1").status, 429, "a key that was not used before");
    assert_eq!(ask(&ann, "192.0.2.1").status, 200, "a key in use");
    assert_eq!(ask(&bob, "192.0.2.2").status, 200, "another address");
    wait_until("the address may try again", Duration::from_secs(10), || {
        (ask(&bob, "192.0.2.1").status == 200).then_some(())
    });
}

#[test]
fn the_client_address_is_taken_from_a_trusted_proxy() {
    let database = Database::new();
    let closed = || DaemonBuilder::plain(&database).with("RGRID_AUTH__MODE", "keys").slots(1);
    let forwarded = [("x-forwarded-for", "192.0.2.66, 198.51.100.7")];
    let seen = |daemon: &Daemon| {
        daemon.http().get_with("/api/v1/runtimes", &forwarded);
        let line = wait_until("the rejection to be logged", Duration::from_secs(10), || {
            daemon.log().into_iter().find(|line| line.contains("request rejected"))
        });
        let ready = daemon.http().get_with("/readyz", &forwarded).json();
        (
            serde_json::from_str::<Value>(&line).unwrap()["client"].as_str().unwrap().to_owned(),
            ready["checks"][0]["detail"].as_str().unwrap().to_owned(),
        )
    };
    let trusting = closed().with("RGRID_HTTP__TRUSTED_PROXIES", "[\"127.0.0.0/8\"]").start();
    // Clients on other hosts see that a check failed, but no details.
    assert_eq!(seen(&trusting), ("198.51.100.7".to_owned(), String::new()));
    drop(trusting);
    assert_eq!(seen(&closed().start()), ("127.0.0.1".to_owned(), "answers".to_owned()));
}
