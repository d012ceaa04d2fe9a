//! Clients that send or open too much, send too slowly or nothing: they are limited, and the others are served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Daemon, DaemonBuilder, Database, Http, wait_until};

fn daemon(settings: &[(&str, &str)]) -> (Database, Daemon) {
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database).slots(1);
    let builder = settings.iter().fold(builder, |builder, (name, value)| builder.with(name, value));
    let daemon = builder.start();
    (database, daemon)
}

/// A raw connection.
struct Raw(TcpStream);

impl Raw {
    fn to(daemon: &Daemon) -> Self {
        let stream = TcpStream::connect(daemon.http().address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self(stream)
    }

    fn send(&mut self, text: &str) -> bool {
        self.0.write_all(text.as_bytes()).is_ok()
    }

    /// The head of a submission that announces a body.
    fn announce(&mut self, length: u64) {
        let head =
            "POST /api/v1/executions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
        assert!(self.send(&format!("{head}content-length: {length}\r\n\r\n")));
    }

    /// The same with an API key.
    fn announce_as(&mut self, key: &str, length: u64) {
        let head = format!(
            "POST /api/v1/executions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\n"
        );
        assert!(self.send(&format!("{head}content-length: {length}\r\n\r\n")));
    }

    /// Everything until the server closes the connection.
    fn until_closed(&mut self) -> String {
        let mut all = Vec::new();
        let mut piece = [0; 4096];
        loop {
            match self.0.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => all.extend_from_slice(&piece[..count]),
                // The server closed the connection while data was still in flight.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("the connection is still open: {error}"),
            }
        }
        String::from_utf8(all).unwrap()
    }

    /// Status and detail of one response.
    fn answer(&mut self) -> (u16, String) {
        let mut all = String::new();
        let mut piece = [0; 4096];
        wait_until("a response", Duration::from_secs(30), || {
            let count = self.0.read(&mut piece).unwrap();
            all.push_str(std::str::from_utf8(&piece[..count]).unwrap());
            all.contains("\"status\":").then_some(())
        });
        (status_of(&all), detail_of(&all))
    }
}

fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("no response: {answer:?}")).parse().unwrap()
}

fn detail_of(answer: &str) -> String {
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let problem: Value = serde_json::from_str(body).unwrap();
    problem["detail"].as_str().unwrap().to_owned()
}

#[test]
fn a_body_that_arrives_too_slowly_gets_a_timeout() {
    let (database, daemon) = daemon(&[("RGRID_HTTP__BODY_TIMEOUT", "1s")]);
    let mut slow = Raw::to(&daemon);
    slow.announce(1000);
    let start = Instant::now();
    let mut sender = Raw(slow.0.try_clone().unwrap());
    let sending = std::thread::spawn(move || {
        while sender.send(" ") && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let answer = slow.until_closed();
    assert_eq!(status_of(&answer), 408, "{answer}");
    assert_eq!(detail_of(&answer), "the body did not arrive within 1s (http.body_timeout)");
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    drop(slow);
    sending.join().unwrap();
    assert_eq!(database.number("SELECT count(*) FROM executions"), 0);
}

#[test]
fn a_head_that_never_ends_and_a_connection_without_a_request_are_closed() {
    let (_database, daemon) =
        daemon(&[("RGRID_HTTP__HEADER_TIMEOUT", "1s"), ("RGRID_HTTP__IDLE_TIMEOUT", "1s")]);
    let mut slow = Raw::to(&daemon);
    assert!(slow.send("GET /healthz HTTP/1.1\r\nx-slow: "));
    assert_eq!(status_of(&slow.until_closed()), 408);
    let mut idle = Raw::to(&daemon);
    assert!(idle.send("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    assert_eq!(status_of(&idle.until_closed()), 200);
}

#[test]
fn a_request_that_is_too_large_is_rejected_before_it_is_read() {
    let (_database, daemon) = daemon(&[]);
    let mut huge = Raw::to(&daemon);
    huge.announce(1 << 30);
    let (status, detail) = huge.answer();
    assert_eq!(status, 413);
    let expected = "the request is too large: a submission has at most 51.5 MiB (files 32 MiB, script 1 MiB)";
    assert_eq!(detail, expected);
    let (status, detail) = {
        let mut wide = Raw::to(&daemon);
        assert!(wide.send(&format!(
            "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-wide: {}\r\n\r\n",
            "w".repeat(40_000)
        )));
        wide.answer()
    };
    assert_eq!(status, 431);
    let expected =
        "the request line and headers are too large: 39.1 KiB, at most 32 KiB are allowed (http.max_header)";
    assert_eq!(detail, expected);
    // Beyond the buffer of actix, the response has no problem document.
    let mut wider = Raw::to(&daemon);
    wider.send(&format!(
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-wide: {}\r\n\r\n",
        "w".repeat(1 << 20)
    ));
    assert_eq!(status_of(&wider.until_closed()), 431);
    assert_eq!(daemon.http().get("/healthz").status, 200);
}

#[test]
fn a_client_that_does_not_read_its_response_is_disconnected() {
    let (_database, daemon) = daemon(&[("RGRID_HTTP__IDLE_TIMEOUT", "2s")]);
    let http = daemon.http();
    let id = http.submit("open('large', 'wb').write(b'x' * (20 << 20))");
    assert_eq!(http.wait(&id)["status"], "completed");
    let port = http.address().rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let idle: Vec<Raw> = (0..10)
        .map(|_| {
            let mut raw = Raw::to(&daemon);
            assert!(raw.send(&format!(
                "GET /api/v1/executions/{id}/outputs/large HTTP/1.1\r\nhost: localhost\r\n\r\n"
            )));
            raw
        })
        .collect();
    wait_until("all clients to be connected", Duration::from_secs(10), || {
        (connections_at(port) >= 10).then_some(())
    });
    wait_until("all clients to be disconnected", Duration::from_secs(60), || {
        (connections_at(port) == 0).then_some(())
    });
    drop(idle);
}

/// Established connections of the server at this port.
fn connections_at(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let wanted = format!(":{port:04X}");
    let established = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&wanted) && fields[3] == "01"
    };
    table.lines().filter(established).count()
}

const ASK: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Follows an execution that stays queued, so that its connection is never idle.
fn follow(raw: &mut Raw, id: &str, key: Option<&str>) -> Option<u16> {
    let header = key.map_or_else(String::new, |key| format!("authorization: Bearer {key}\r\n"));
    let head = format!("GET /api/v1/executions/{id}/events HTTP/1.1\r\nhost: localhost\r\n{header}\r\n");
    raw.send(&head).then(|| first_bytes(&mut raw.0)).flatten().map(|answer| status_of(&answer))
}

#[test]
fn connections_beyond_the_limit_wait_if_none_is_idle() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database)
        .role("api")
        .with("RGRID_HTTP__WORKERS", "1")
        .with("RGRID_HTTP__MAX_CONNECTIONS", "3")
        .start();
    let id = daemon.http().submit("print(1)");
    let mut busy: Vec<Raw> = (0..3)
        .map(|_| {
            let mut raw = Raw::to(&daemon);
            assert_eq!(follow(&mut raw, &id, None), Some(200));
            raw
        })
        .collect();
    let mut waiting = Raw::to(&daemon);
    assert!(waiting.send(ASK));
    waiting.0.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert_eq!(first_bytes(&mut waiting.0), None, "the fourth was served at once");
    busy.pop();
    waiting.0.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(status_of(&first_bytes(&mut waiting.0).unwrap()), 200);
}

#[test]
fn the_connection_that_is_idle_the_longest_makes_room() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database)
        .role("api")
        .with("RGRID_HTTP__WORKERS", "1")
        .with("RGRID_HTTP__MAX_CONNECTIONS", "4")
        .start();
    let id = daemon.http().submit("print(1)");
    let mut busy = Raw::to(&daemon);
    assert_eq!(follow(&mut busy, &id, None), Some(200));
    // One connection without a request, and then many that keep theirs open after it.
    let mut silent = Raw::to(&daemon);
    let mut idle = Vec::new();
    for number in 0..10 {
        let mut raw = Raw::to(&daemon);
        assert!(raw.send(ASK));
        raw.0.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(first_bytes(&mut raw.0).is_some(), "connection {number} was not served");
        idle.push(raw);
    }
    assert_eq!(silent.until_closed(), "");
    assert_eq!(idle.remove(0).until_closed(), "");
    let mut last = idle.pop().unwrap();
    assert!(last.send(ASK));
    assert!(first_bytes(&mut last.0).is_some(), "the newest is still open");
    daemon.http().post(&format!("/api/v1/executions/{id}/cancel"), &json!({}));
    wait_until("the end on the busy connection", Duration::from_secs(30), || {
        first_bytes(&mut busy.0).is_some_and(|events| events.contains("cancelled")).then_some(())
    });
}

/// A connection from another address of this host.
fn connect_from(address: &str, daemon: &Daemon) -> Raw {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let from: std::net::SocketAddr = format!("{address}:0").parse().unwrap();
    socket.bind(&from.into()).unwrap();
    let to: std::net::SocketAddr = daemon.http().address().parse().unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    Raw(stream)
}

#[test]
fn an_address_gets_a_quarter_of_the_connections() {
    let settings = [("RGRID_HTTP__WORKERS", "1"), ("RGRID_HTTP__MAX_CONNECTIONS", "16")];
    let (_database, daemon, [ann, bob]) = daemon_with_clients(&settings);
    let id = daemon.http().with_key(&ann).submit("print(1)");
    let mut busy: Vec<Raw> = (0..4)
        .map(|_| {
            let mut raw = connect_from("127.0.0.2", &daemon);
            assert_eq!(follow(&mut raw, &id, Some(&ann)), Some(200));
            raw
        })
        .collect();
    let mut refused = connect_from("127.0.0.2", &daemon);
    assert!(!refused.send(ASK) || first_bytes(&mut refused.0).is_none(), "a fifth was served");
    assert_eq!(daemon.http().with_key(&bob).get("/api/v1/runtimes").status, 200);
    busy.pop();
    // Idle connections of the same address make room for each other.
    wait_until("room for another one", Duration::from_secs(30), || {
        let mut raw = connect_from("127.0.0.2", &daemon);
        (raw.send(ASK) && first_bytes(&mut raw.0).is_some()).then_some(())
    });
    for _ in 0..5 {
        let mut raw = connect_from("127.0.0.2", &daemon);
        assert!(raw.send(ASK) && first_bytes(&mut raw.0).is_some());
        busy.push(raw);
    }
}

#[test]
fn a_key_gets_a_quarter_of_the_event_streams() {
    let (_database, daemon, [ann, bob]) = daemon_with_clients(&[("RGRID_HTTP__FOLLOWERS", "8")]);
    let ids = [&ann, &bob].map(|key| daemon.http().with_key(key).submit("print(1)"));
    let open = |key: &str, id: &str| {
        let mut raw = Raw::to(&daemon);
        (follow(&mut raw, id, Some(key)), raw)
    };
    let mut anns: Vec<_> = (0..3).map(|_| open(&ann, &ids[0])).collect();
    assert_eq!(anns.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [Some(200), Some(200), Some(429)]);
    assert_eq!(open(&bob, &ids[1]).0, Some(200));
    anns.remove(0);
    wait_until("the stream to end", Duration::from_secs(30), || {
        (open(&ann, &ids[0]).0 == Some(200)).then_some(())
    });
}

#[test]
fn a_key_gets_a_quarter_of_the_queue() {
    let (_database, daemon, [ann, bob]) = daemon_with_clients(&[("RGRID_QUEUE__MAX_QUEUED", "8")]);
    let [ann, bob] = [ann, bob].map(|key| daemon.http().with_key(&key));
    let submit = |http: &Http| {
        http.post("/api/v1/executions", &json!({ "script": { "name": "s.py", "content": "x" } }))
    };
    let first = submit(&ann).json()["id"].as_str().unwrap().to_owned();
    assert_eq!(submit(&ann).status, 201);
    let refused = submit(&ann);
    assert_eq!((refused.status, refused.retry_after.as_deref()), (429, Some("1")), "{refused:?}");
    let expected = "2 executions of this API key are queued, at most 2 are allowed per key (a quarter of queue.max_queued)";
    assert_eq!(refused.json()["detail"], expected);
    assert_eq!(ann.post(&format!("/api/v1/executions/{first}/retry"), &json!({})).status, 429);
    assert_eq!([(); 3].map(|()| submit(&bob).status), [201, 201, 429]);
    ann.post(&format!("/api/v1/executions/{first}/cancel"), &json!({}));
    wait_until("room in the queue", Duration::from_secs(30), || (submit(&ann).status == 201).then_some(()));
}

fn first_bytes(stream: &mut TcpStream) -> Option<String> {
    let mut piece = [0; 4096];
    let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
    Some(String::from_utf8_lossy(&piece[..count]).into_owned())
}

/// A daemon that needs keys, and clients with a key each.
fn daemon_with_clients(settings: &[(&str, &str)]) -> (Database, Daemon, [String; 2]) {
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database).role("api").with("RGRID_AUTH__MODE", "keys");
    let builder = settings.iter().fold(builder, |builder, (name, value)| builder.with(name, value));
    let keys = ["ann", "bob"].map(|name| builder.key(name, "read,run"));
    let daemon = builder.start();
    (database, daemon, keys)
}

/// A submission with a file of `bytes`.
fn submission_of(bytes: usize) -> Value {
    let file = json!({ "name": "f", "content_base64": "A".repeat(bytes / 3 * 4) });
    json!({ "script": { "name": "s.py", "content": "x" }, "files": [file] })
}

#[test]
fn bodies_that_do_not_arrive_keep_nobody_from_submitting() {
    let (database, daemon, [ann, bob]) = daemon_with_clients(&[]);
    let mut idle: Vec<Raw> = (0..3).map(|_| Raw::to(&daemon)).collect();
    for raw in &mut idle {
        raw.announce_as(&ann, 50 << 20);
        assert!(raw.send("{"));
    }
    let start = Instant::now();
    for key in [&bob, &ann] {
        let http = daemon.http().with_key(key);
        for size in [600 << 10, 9 << 20] {
            let answer = http.post("/api/v1/executions", &submission_of(size));
            assert_eq!(answer.status, 201, "{}", answer.body);
        }
    }
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    for raw in &mut idle {
        let (status, detail) = raw.answer();
        assert_eq!((status, detail.as_str()), (408, "the body arrived more slowly than 8 KiB/s"));
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(database.number("SELECT count(*) FROM executions"), 4);
}

#[test]
fn a_client_that_uses_its_share_of_the_memory_limits_only_itself() {
    // The largest body is 2.7 MiB, and so is a share.
    let (_database, daemon, [ann, bob]) = daemon_with_clients(&[
        ("RGRID_SUBMISSION__MAX_FILES_SIZE", "1MiB"),
        ("RGRID_SUBMISSION__MAX_SCRIPT", "64KiB"),
        ("RGRID_SUBMISSION__MAX_ARGS_SIZE", "1KiB"),
        ("RGRID_SUBMISSION__MAX_ENV_SIZE", "1KiB"),
        ("RGRID_SUBMISSION__MAX_REQUIREMENTS", "1KiB"),
        ("RGRID_SUBMISSION__MAX_IN_MEMORY", "1MiB"),
    ]);
    let mut steady = Raw::to(&daemon);
    steady.announce_as(&ann, 2 << 20);
    assert!(steady.send(&" ".repeat(128 << 10)));
    let mut sender = Raw(steady.0.try_clone().unwrap());
    let sending = std::thread::spawn(move || {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(40) && sender.send(&" ".repeat(8 << 10)) {
            std::thread::sleep(Duration::from_millis(250));
        }
    });
    let [ann, bob] = [ann, bob].map(|key| daemon.http().with_key(&key));
    let (small, large) = (submission_of(30 << 10), submission_of(900 << 10));
    let refused = wait_until("the share to be used", Duration::from_secs(30), || {
        Some(ann.post("/api/v1/executions", &large)).filter(|answer| answer.status == 429)
    });
    let expected = "too many large submissions at the same time (submission.max_in_memory)";
    assert_eq!((refused.retry_after.as_deref(), &refused.json()["detail"]), (Some("1"), &json!(expected)));
    let start = Instant::now();
    assert_eq!(bob.post("/api/v1/executions", &large).status, 201);
    assert_eq!(ann.post("/api/v1/executions", &small).status, 201);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    steady.0.shutdown(std::net::Shutdown::Both).unwrap();
    sending.join().unwrap();
    assert_eq!(ann.post("/api/v1/executions", &large).status, 201);
}
