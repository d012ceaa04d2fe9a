//! A script that has taken over its init cannot make the daemon allocate or store more than its limits.

use rgrid_init::{Event, Exit, ExitReason, Message, OutputFile, Stream, StreamEnd};
use serde_json::Value;

use crate::support::{DaemonBuilder, Database, Tampering};

const OUTPUT_LIMIT: usize = 100 << 10;
const MORE: u64 = 40;

fn change_exit(message: Message, change: fn(&mut Exit)) -> Vec<Message> {
    match message {
        Message::Event { seq, event: Event::Exit(mut exit) } => {
            change(&mut exit);
            vec![Message::Event { seq, event: Event::Exit(exit) }]
        }
        other => vec![other],
    }
}

/// The execution at its end, from a daemon that is still alive.
fn run(change: fn(Message) -> Vec<Message>) -> Value {
    let database = Database::new();
    let tampering = Tampering::new(change);
    let daemon =
        DaemonBuilder::plain(&database).slots(1).with("RGRID_DOCKER__HOST", &tampering.host()).start();
    let http = daemon.http();
    let id = http.submit("print('x')");
    let end = http.wait(&id);
    assert_eq!(http.get("/healthz").status, 200);
    for field in ["stdout", "stderr", "execution_error"] {
        let length = end[field].as_str().unwrap_or_default().len();
        assert!(length <= OUTPUT_LIMIT + 100, "{field} has {length} bytes");
    }
    end
}

fn assert_failed(end: &Value, kind: &str, error: &str) {
    assert_eq!((end["status"].as_str(), end["failure_kind"].as_str()), (Some("failed"), Some(kind)), "{end}");
    assert!(end["execution_error"].as_str().unwrap().contains(error), "{end}");
}

#[test]
fn an_unchanged_message_is_accepted() {
    let end = run(|message| vec![message]);
    assert_eq!((end["status"].as_str(), end["stdout"].as_str()), (Some("completed"), Some("x\n")), "{end}");
}

#[test]
fn an_output_file_of_a_tebibyte_is_not_allocated() {
    let end = run(|message| {
        change_exit(message, |exit| exit.outputs = vec![OutputFile { name: "a".to_owned(), size: 1 << 40 }])
    });
    assert_failed(&end, "output", "more output files than allowed");
}

#[test]
fn output_above_the_limit_ends_the_execution() {
    let end = run(|message| match message {
        Message::Event { seq, event: Event::Output { stream, .. } } => {
            let output =
                |seq| Message::Event { seq, event: Event::Output { stream, text: "x".repeat(60_000) } };
            (seq..=seq + MORE).map(output).collect()
        }
        Message::Event { seq, event: Event::Exit(exit) } => {
            vec![Message::Event { seq: seq + MORE, event: Event::Exit(exit) }]
        }
        other => vec![other],
    });
    assert_failed(&end, "internal", "the sandbox sent more output than its limit, which its init never does");
}

#[test]
fn the_end_of_a_stream_is_limited() {
    let end = run(|message| {
        change_exit(message, |exit| {
            exit.stdout = StreamEnd { total: 1 << 40, tail: "x".repeat(400_000) };
        })
    });
    assert_failed(&end, "internal", "the end of a stream that is too long");
}

#[test]
fn a_reason_is_limited() {
    let end = run(|message| {
        change_exit(message, |exit| exit.reason = ExitReason::CouldNotStart { reason: "x".repeat(3 << 20) })
    });
    assert_failed(&end, "internal", "a sentence that is too long");
}

#[test]
fn a_text_that_postgres_cannot_store_ends_the_execution() {
    let end = run(|message| match message {
        Message::Event { seq, event: Event::Output { .. } } => {
            let event = Event::Output { stream: Stream::Stdout, text: "\0".to_owned() };
            vec![Message::Event { seq, event }]
        }
        other => vec![other],
    });
    assert_failed(&end, "internal", "a NUL byte");
}
