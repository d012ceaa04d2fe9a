//! Webhooks are signed, retried until they are accepted, survive a crash, and never reach internal addresses.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Background, DaemonBuilder, Database, Http, make_certificates, wait_until};

const SECRET: &str = "a secret of the test's";

#[derive(Clone, Debug)]
struct Call {
    headers: Vec<(String, String)>,
    body: String,
}

impl Call {
    fn header(&self, name: &str) -> &str {
        &self
            .headers
            .iter()
            .find(|(known, _)| known == name)
            .unwrap_or_else(|| panic!("no {name}: {self:?}"))
            .1
    }

    fn is_signed(&self) -> bool {
        let block = |pad: u8| -> Vec<u8> {
            let mut key = SECRET.as_bytes().to_vec();
            key.resize(64, 0);
            key.iter().map(|byte| byte ^ pad).collect()
        };
        let message = format!("{}.{}", self.header("x-rgrid-timestamp"), self.body);
        let inner = Sha256::digest([block(0x36), message.into_bytes()].concat());
        let outer = Sha256::digest([block(0x5c), inner.to_vec()].concat());
        self.header("x-rgrid-signature") == format!("sha256={}", base16ct::lower::encode_string(&outer))
    }
}

/// Answers with 500 for the first `failing` calls, then with 204.
fn receiver(failing: usize) -> (u16, Arc<Mutex<Vec<Call>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
    let seen = Arc::clone(&calls);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut headers = Vec::new();
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                if let Some((name, value)) = line.split_once(": ") {
                    headers.push((name.to_lowercase(), value.trim().to_owned()));
                }
                line.clear();
            }
            let length = headers
                .iter()
                .find(|(name, _)| name == "content-length")
                .map_or(0, |(_, v)| v.parse().unwrap());
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let mut calls = seen.lock().unwrap();
            let status = if calls.len() < failing { "500 Not yet" } else { "204 No Content" };
            calls.push(Call { headers, body: String::from_utf8(body).unwrap() });
            let _ = write!(
                reader.get_mut(),
                "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
    });
    (port, calls)
}

/// Prints its port, and the path of each call.
const TLS_RECEIVER: &str = "
import http.server, ssl
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers['content-length']))
        self.send_response(204)
        self.end_headers()
        print(self.path, flush=True)
server = http.server.HTTPServer(('127.0.0.1', 0), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('server.crt', 'server.key')
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
";

/// Has the certificate in this folder. Returns its port and the lines that it prints.
fn tls_receiver(folder: &Path) -> (Background, u16, impl Iterator<Item = String>) {
    let mut command = Command::new("python3");
    command.args(["-c", TLS_RECEIVER]).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let port = lines.next().unwrap().parse().unwrap();
    (Background(child), port, lines)
}

fn calling(database: &Database) -> DaemonBuilder {
    DaemonBuilder::plain(database)
        .with("RGRID_WEBHOOK__SECRET", SECRET)
        .with("RGRID_WEBHOOK__RETRY_AFTER", "300ms")
}

fn submit(daemon: &crate::support::Daemon, script: &str, url: &str) -> String {
    daemon.http().submit_with(script, json!({ "webhook": { "url": url } }))
}

#[test]
fn a_webhook_is_signed_and_retried_until_it_is_accepted() {
    let database = Database::new();
    let (port, calls) = receiver(2);
    let daemon = calling(&database).with("RGRID_WEBHOOK__ALLOW_INTERNAL", "true").start();
    let id =
        submit(&daemon, "print('said'); raise SystemExit(3)", &format!("http://127.0.0.1:{port}/ended?x=1"));
    let three = wait_until("the third call", Duration::from_secs(40), || {
        Some(calls.lock().unwrap().clone()).filter(|calls| calls.len() >= 3)
    });
    assert!(three.iter().all(Call::is_signed));
    let body: Value = serde_json::from_str(&three[2].body).unwrap();
    assert_eq!((&body["id"], &body["status"], &body["exit_code"]), (&json!(id), &json!("failed"), &json!(3)));
    assert_eq!((&body["stdout"], three[2].header("x-rgrid-delivery")), (&Value::Null, id.as_str()));
    wait_until("the webhook to be removed", Duration::from_secs(10), || {
        (database.number("SELECT count(*) FROM webhooks") == 0).then_some(())
    });
    // Cancelling a queued execution uses another statement and also calls the webhook.
    let waiting = submit(&daemon, "import time; time.sleep(30)", &format!("http://127.0.0.1:{port}/"));
    daemon.http().post(&format!("/api/v1/executions/{waiting}/cancel"), &json!({}));
    wait_until("the call for the cancelled execution", Duration::from_secs(30), || {
        calls
            .lock()
            .unwrap()
            .iter()
            .any(|call| call.body.contains(&waiting) && call.body.contains("cancelled"))
            .then_some(())
    });
}

#[test]
fn a_crash_between_end_and_call_loses_no_webhook() {
    let database = Database::new();
    let (port, calls) = receiver(1);
    let builder = calling(&database).with("RGRID_WEBHOOK__ALLOW_INTERNAL", "true");
    let first = builder.start();
    let id = submit(&first, "print(1)", &format!("http://127.0.0.1:{port}/"));
    wait_until("the first call, which fails", Duration::from_secs(30), || {
        (calls.lock().unwrap().len() == 1).then_some(())
    });
    first.kill_9();
    let _second = builder.start();
    wait_until("the call after the crash", Duration::from_secs(60), || {
        (calls.lock().unwrap().len() > 1).then_some(())
    });
    assert!(calls.lock().unwrap()[1].body.contains(&id));
}

#[test]
fn internal_addresses_are_never_called() {
    let database = Database::new();
    let (port, calls) = receiver(0);
    let daemon = calling(&database).start();
    let body =
        |url: &str| json!({ "script": { "name": "s.py", "content": "pass" }, "webhook": { "url": url } });
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://[::1]:{port}/"),
        "http://169.254.169.254/".to_owned(),
    ] {
        let refused = daemon.http().post("/api/v1/executions", &body(&url));
        assert_eq!(refused.status, 422, "{url}");
        assert!(
            refused.body.contains("webhook.url") && refused.body.contains("allow_internal"),
            "{refused:?}"
        );
    }
    // A name that resolves to an internal address is detected at the call.
    submit(&daemon, "print(1)", &format!("http://localhost:{port}/"));
    let why = wait_until("the call to fail", Duration::from_secs(30), || {
        Some(database.text("SELECT coalesce(max(last_error), '') FROM webhooks"))
            .filter(|why| !why.is_empty())
    });
    assert!(why.contains("no address on the internet"), "{why}");
    assert!(calls.lock().unwrap().is_empty());
}

#[test]
fn a_receiver_that_does_not_answer_delays_no_webhooks_of_other_keys() {
    let database = Database::new();
    let (port, calls) = receiver(0);
    // Accepts connections and keeps them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let builder = calling(&database)
        .role("api")
        .with("RGRID_AUTH__MODE", "keys")
        .with("RGRID_WEBHOOK__ALLOW_INTERNAL", "true")
        .with("RGRID_WEBHOOK__TIMEOUT", "15s");
    let daemon = builder.start();
    let [ann, bob] = ["ann", "bob"].map(|name| daemon.http().with_key(&builder.key(name, "run,read")));
    let end_one = |http: &Http, port: u16| {
        let webhook = json!({ "webhook": { "url": format!("http://127.0.0.1:{port}/") } });
        let id = http.submit_with("print(1)", webhook);
        assert_eq!(http.post(&format!("/api/v1/executions/{id}/cancel"), &json!({})).status, 202);
        id
    };
    for _ in 0..12 {
        end_one(&ann, silent.local_addr().unwrap().port());
    }
    let started = Arc::new(Mutex::new(0));
    let count = Arc::clone(&started);
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in silent.incoming().map_while(Result::ok) {
            kept.push(stream);
            *count.lock().unwrap() += 1;
        }
    });
    wait_until("the calls that get no answer", Duration::from_secs(10), || {
        (*started.lock().unwrap() >= 2).then_some(())
    });
    let id = end_one(&bob, port);
    wait_until("the call for the other key", Duration::from_secs(8), || {
        calls.lock().unwrap().iter().any(|call| call.body.contains(&id)).then_some(())
    });
    assert_eq!(*started.lock().unwrap(), 2, "calls for one key");
}

#[test]
fn receivers_with_tls_are_verified_with_the_root_certificates_of_the_system() {
    let database = Database::new();
    let folder = tempfile::tempdir().unwrap();
    make_certificates(folder.path());
    let (_receiver, port, mut calls) = tls_receiver(folder.path());
    // The variable replaces the system's own file.
    let trusting = |authority: &str| {
        let file = folder.path().join(authority);
        let builder = calling(&database).with("RGRID_WEBHOOK__ALLOW_INTERNAL", "true");
        builder.with("SSL_CERT_FILE", file.to_str().unwrap()).start()
    };
    let daemon = trusting("other.crt");
    submit(&daemon, "print(1)", &format!("https://localhost:{port}/ended"));
    let why = wait_until("the call to fail", Duration::from_secs(30), || {
        Some(database.text("SELECT coalesce(max(last_error), '') FROM webhooks"))
            .filter(|why| !why.is_empty())
    });
    assert!(why.contains("invalid peer certificate: UnknownIssuer"), "{why}");
    assert_eq!(daemon.stop(), 0);

    let _daemon = trusting("ca.crt");
    wait_until("the call to be accepted", Duration::from_secs(30), || {
        (database.number("SELECT count(*) FROM webhooks") == 0).then_some(())
    });
    assert_eq!(calls.next().as_deref(), Some("/ended"));
}
