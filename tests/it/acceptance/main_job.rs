//! The main use case: submit a script with a file, get its result.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Daemon, DaemonBuilder, Database, containers_of, wait_until};

const WORDS: &str = "\
import os, sys
with open(sys.argv[1]) as source:
    words = source.read().split()
with open('count.txt', 'w') as result:
    result.write(str(len(words)))
print(os.environ['GREETING'], len(words), 'words in', sys.argv[1])
";

fn daemon() -> (Database, Daemon) {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).start();
    (database, daemon)
}

#[test]
fn a_script_with_a_file_and_a_variable_returns_its_result() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("words.py", WORDS);
    cli.write("poem.txt", "one two three\n");

    let said = cli.run(&["run", "-w", "-e", "GREETING=found", "words.py", "poem.txt"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "found 3 words in poem.txt\n"), "{said:?}");

    let items = daemon.http().get("/api/v1/executions").json();
    let id = items["items"][0]["id"].as_str().unwrap().to_owned();
    let outputs = daemon.http().get(&format!("/api/v1/executions/{id}/outputs")).json();
    assert_eq!(outputs["items"][0]["name"], "count.txt");
    assert_eq!(daemon.http().get(&format!("/api/v1/executions/{id}/outputs/count.txt")).body, "3");
}

#[test]
fn status_goes_from_queued_over_running_to_completed() {
    let (database, daemon) = daemon();
    let http = daemon.http();
    let id = http.submit("import time; time.sleep(3); print('done')");
    let mut seen = vec!["queued".to_owned()];
    let end = wait_until("the script completes", Duration::from_secs(30), || {
        let execution = http.execution(&id);
        let status = execution["status"].as_str().unwrap().to_owned();
        if seen.last() != Some(&status) {
            seen.push(status.clone());
        }
        (status == "completed").then_some(execution)
    });
    assert_eq!(seen, ["queued", "running", "completed"]);
    assert_eq!(
        (&end["exit_code"], &end["stdout"], &end["attempt"]),
        (&json!(0), &json!("done\n"), &json!(1))
    );
    assert!(
        end["duration_ms"].as_u64().unwrap() >= 3000
            && end["usage"]["peak_memory_bytes"].as_u64().unwrap() > 0
    );
    assert_eq!(database.number("SELECT count(*) FROM output_chunks"), 0);
}

#[test]
fn a_script_that_exits_with_3_has_exit_code_3_everywhere() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("three.py", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)");

    let said = cli.run(&["run", "-w", "three.py"]);
    assert_eq!((said.code, said.stdout.as_str()), (3, "out\n"), "{said:?}");

    let id = cli.ok(&["run", "-q", "three.py"]).trim().to_owned();
    assert_eq!(cli.run(&["wait", &id]).code, 3);
    let status = cli.ok(&["status", &id]);
    assert!(status.contains("Status: failed") && status.contains("Exit Code: 3"), "{status}");
    assert!(status.contains("Error: the script ended with exit code 3"), "{status}");
    let logs = cli.ok(&["logs", &id]);
    assert_eq!(logs, "=== STDOUT ===\nout\n\n=== STDERR ===\nerr\n\nExit Code: 3\n");
}

#[test]
fn run_without_waiting_prints_the_id_and_a_hint() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("hello.py", "print('hello')");
    let said = cli.run(&["run", "hello.py"]);
    let id = said.stdout.lines().next().unwrap().strip_prefix("Execution: ").unwrap().to_owned();
    assert_eq!(said.stdout, format!("Execution: {id}\nStatus: queued\n"));
    assert_eq!(said.stderr, format!("  hint: follow it with `rgrid logs -f {id}`\n"));
    assert_eq!(cli.run(&["wait", &id]).code, 0);
}

#[test]
fn the_runtimes_are_listed_with_the_default_marked() {
    let (_database, daemon) = daemon();
    let listed = daemon.cli().ok(&["runtimes", "list"]);
    let pythons: Vec<_> = listed.lines().take(4).collect();
    let expected = ["python:3.9-slim", "python:3.10-slim", "python:3.11-slim (default)", "python:3.12-slim"];
    assert_eq!(pythons, expected);
}

#[test]
fn a_simple_script_completes_in_a_second_and_leaves_no_container() {
    let (database, daemon) = daemon();
    let http = daemon.http();
    http.wait(&http.submit("print('warm up')"));
    // The fastest of several, because other tests use the machine at the same time.
    let durations = (0..10).map(|_| {
        let start = Instant::now();
        http.wait(&http.submit("print('hello')"));
        start.elapsed()
    });
    let fastest = durations.min().unwrap();
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    let cluster = database.text("SELECT cluster FROM deployment");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(containers_of(&cluster), Vec::<String>::new());
}

#[test]
fn without_a_database_url_an_embedded_postgres_stores_everything() {
    let builder = DaemonBuilder::new();
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rgridd"));
        command
            .args(arguments)
            .env("RGRID_DATA_DIR", builder.data_dir())
            .env("RGRID_HTTP__LISTEN", "127.0.0.1:0")
            .env("RGRID_SANDBOX__NETWORK_NAME", "rgrid-test");
        let output = command.env_remove("DATABASE_URL").output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let examined = ask(&["doctor"]);
    assert!(examined.contains("created on the first start"), "{examined}");
    assert!(!builder.data_dir().join("postgres").exists(), "doctor created it");

    let daemon = builder.start();
    let id = daemon.http().submit("print('kept')");
    daemon.http().wait(&id);
    // While the daemon runs, on its database.
    assert!(ask(&["doctor"]).contains("migrations, 0 pending"), "{}", ask(&["doctor"]));
    let steps = ask(&["migrate", "status"]);
    assert!(steps.contains("applied") && !steps.contains("pending"), "{steps}");
    assert!(ask(&["migrate", "up"]).contains("up to date"));
    assert!(ask(&["migrate", "down"]).contains("another rgridd uses the data directory"));
    assert_eq!(daemon.stop(), 0);
    let running = builder.data_dir().join("postgres/data/postmaster.pid");
    assert!(!running.exists(), "the embedded Postgres still runs");

    let again = builder.start();
    assert_eq!(again.http().execution(&id)["stdout"], "kept\n");
    assert_eq!(again.stop(), 0);
}

#[test]
fn a_timeout_ends_the_script_and_is_reported() {
    let (_database, daemon) = daemon();
    let http = daemon.http();
    let id = http.submit_with("print('begun'); import time; time.sleep(60)", json!({ "timeout_seconds": 5 }));
    let end = http.wait(&id);
    assert_eq!((&end["status"], &end["failure_kind"]), (&json!("failed"), &json!("timeout")), "{end}");
    assert_eq!(end["stdout"], "begun\n");
    assert!(end["execution_error"].as_str().unwrap().contains("--timeout"), "{end}");
}

#[test]
fn exceeding_the_memory_limit_is_a_distinct_failure() {
    let (_database, daemon) = daemon();
    let http = daemon.http();
    let id = http.submit_with("x = bytearray(400 * 1024 * 1024)", json!({ "memory_mb": 64 }));
    let end = http.wait(&id);
    assert_eq!((&end["status"], &end["failure_kind"]), (&json!("failed"), &json!("out_of_memory")), "{end}");
    assert!(end["execution_error"].as_str().unwrap().contains("--memory"), "{end}");
}

#[test]
fn a_running_script_is_cancelled_within_seconds() {
    let (_database, daemon) = daemon();
    let http = daemon.http();
    let id = http.submit("import time; print('begun', flush=True); time.sleep(60)");
    wait_until("it runs", Duration::from_secs(30), || {
        http.get(&format!("/api/v1/executions/{id}/logs")).body.contains("begun").then_some(())
    });
    let begun = Instant::now();
    assert_eq!(http.post(&format!("/api/v1/executions/{id}/cancel"), &json!({})).status, 202);
    let end = http.wait(&id);
    assert_eq!((&end["status"], &end["stdout"]), (&json!("cancelled"), &json!("begun\n")), "{end}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
