//! Output is returned byte for byte, up to the limit.

use serde_json::{Value, json};

use crate::support::{Daemon, DaemonBuilder, Database, Http};

const LIMIT: usize = 100 * 1024;

fn daemon() -> (Database, Daemon) {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    (database, daemon)
}

fn run(http: &Http, script: &str) -> Value {
    let end = http.wait(&http.submit(script));
    assert_eq!(end["status"], "completed", "{end}");
    end
}

#[test]
fn text_is_kept_byte_for_byte() {
    let (_database, daemon) = daemon();
    let http = daemon.http();
    let silent = run(&http, "pass");
    assert_eq!((&silent["stdout"], &silent["stderr"]), (&json!(""), &json!("")));
    assert_eq!(silent["output_truncated"], false);

    let unfinished = run(&http, "import sys; sys.stdout.write('no newline at the end')");
    assert_eq!(unfinished["stdout"], "no newline at the end");

    let apart = run(&http, "import sys; print('a'); print('b', file=sys.stderr); print('c')");
    assert_eq!((&apart["stdout"], &apart["stderr"]), (&json!("a\nc\n"), &json!("b\n")));
}

#[test]
fn characters_survive_chunk_boundaries() {
    let (_database, daemon) = daemon();
    let script = "\
import os, time
for byte in 'ä€𝄞'.encode():
    os.write(1, bytes([byte])); time.sleep(0.06)
os.write(1, b'\\xff\\x00|')
";
    let end = run(&daemon.http(), script);
    assert_eq!(end["stdout"], "ä€𝄞\u{fffd}\u{fffd}|");
}

#[test]
fn output_of_the_limit_is_complete_and_one_more_byte_cuts_the_middle() {
    let (_database, daemon) = daemon();
    let http = daemon.http();
    let whole = run(&http, &format!("import sys; sys.stdout.write('a' * {LIMIT})"));
    assert_eq!(whole["stdout"].as_str().unwrap().len(), LIMIT);
    assert_eq!((&whole["output_truncated"], &whole["stdout_bytes"]), (&json!(false), &json!(LIMIT)));

    let cut =
        run(&http, &format!("import sys; sys.stdout.write('a' * {} + 'z' * {})", LIMIT / 2 + 1, LIMIT / 2));
    let text = cut["stdout"].as_str().unwrap();
    let marker = "\n[… 1 byte cut by RGrid …]\n";
    assert_eq!(text, format!("{}{marker}{}", "a".repeat(LIMIT / 2), "z".repeat(LIMIT / 2)));
    assert_eq!((&cut["output_truncated"], &cut["stdout_bytes"]), (&json!(true), &json!(LIMIT + 1)));
}

#[test]
fn long_output_is_cut_and_its_size_reported() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("flood.py", "import sys\nsys.stdout.write('x' * 3250586)\nprint('last', file=sys.stderr)");
    let id = cli.ok(&["run", "-q", "flood.py"]).trim().to_owned();
    assert_eq!(cli.run(&["wait", &id]).code, 0);
    let said = cli.run(&["logs", &id, "--stdout"]);
    assert!(said.stdout.len() > LIMIT && said.stdout.len() < LIMIT + 100, "{}", said.stdout.len());
    assert_eq!(said.stderr, "warning: stdout was cut at 100 KiB (of 3.1 MiB)\n");
    assert_eq!(daemon.http().execution(&id)["stdout_bytes"], 3_250_586);
}

#[test]
fn logs_show_the_output_of_a_running_script() {
    let (_database, daemon) = daemon();
    let http = daemon.http();
    let id = http.submit("import time; print('first'); time.sleep(8); print('second')");
    crate::support::wait_until("the first line", std::time::Duration::from_secs(30), || {
        (http.get(&format!("/api/v1/executions/{id}/logs")).body == "first\n").then_some(())
    });
    assert_eq!(http.execution(&id)["status"], "running");
    assert_eq!(http.wait(&id)["stdout"], "first\nsecond\n");
}
