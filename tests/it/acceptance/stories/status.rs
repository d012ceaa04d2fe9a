//! Story 8-1: `rgrid status` prints the lines of the contract.

use serde_json::{Value, json};

use crate::acceptance::stories::{assert_refused, daemon, ended};
use crate::support::{Cli, DaemonBuilder, Database};

/// The lines of `rgrid status` without the times.
fn lines(cli: &Cli, id: &str) -> Vec<String> {
    cli.ok(&["status", id]).lines().map(without_time).collect()
}

fn without_time(line: &str) -> String {
    let (name, value) = line.split_once(": ").unwrap();
    let shape: String = value.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    match name {
        "Created" | "Started" | "Completed" if shape == "0000-00-00 00:00:00" => name.to_owned(),
        _ => line.to_owned(),
    }
}

fn duration(line: &str) -> bool {
    let value = line.strip_prefix("Duration: ").unwrap();
    value.ends_with('s') && value.starts_with(|c: char| c.is_ascii_digit())
}

#[test]
fn story_8_1_lines_without_a_value_are_omitted() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).slots(1).start();
    let (cli, http) = (daemon.cli(), daemon.http());
    let running = http.submit("import time; print('begun'); time.sleep(60)");
    http.wait_for_output(&running, "begun");
    let queued = http.submit("print('waits')");

    let id = |id: &str| format!("Execution: {id}");
    assert_eq!(lines(&cli, &queued), [&id(&queued), "Status: queued", "Runtime: python:3.11", "Created"]);
    assert_eq!(
        lines(&cli, &running),
        [&id(&running), "Status: running", "Runtime: python:3.11", "Created", "Started"]
    );
    for id in [&queued, &running] {
        cli.ok(&["cancel", id]);
    }
    http.wait(&running);
    let cancelled = lines(&cli, &running);
    assert_eq!(
        cancelled[1..6],
        ["Status: cancelled", "Runtime: python:3.11", "Created", "Started", "Completed"]
    );
    assert!(cancelled.len() == 7 && duration(&cancelled[6]), "{cancelled:?}");
    assert_eq!(lines(&cli, &queued)[1], "Status: cancelled");
}

#[test]
fn story_8_1_an_ended_execution_has_all_lines() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("good.py", "print('fine')");
    cli.write("bad.py", "raise SystemExit(7)");
    let ends = ["Runtime: python:3.11", "Created", "Started", "Completed"];

    let good = lines(&cli, &ended(&cli, &["good.py"]));
    assert_eq!(good[1], "Status: completed");
    assert_eq!(good[2..6], ends);
    assert!(duration(&good[6]), "{good:?}");
    assert_eq!(good[7..], ["Exit Code: 0"]);

    let bad = lines(&cli, &ended(&cli, &["bad.py"]));
    assert_eq!(bad[1], "Status: failed");
    assert_eq!(bad[2..6], ends);
    assert!(duration(&bad[6]), "{bad:?}");
    assert_eq!(bad[7..], ["Exit Code: 7", "Error: the script ended with exit code 7"]);
}

#[test]
fn story_8_1_json_is_the_document_of_the_api() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("env.py", "print('x')");
    let id = ended(&cli, &["-e", "KEY=hidden", "--label", "team=data", "env.py", "one"]);
    let text = cli.ok(&["status", "--json", &id]);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document, daemon.http().execution(&id));
    let told = ["status", "exit_code", "args", "env_keys", "labels", "stdout"].map(|field| &document[field]);
    let expected = [
        json!("completed"),
        json!(0),
        json!(["one"]),
        json!(["KEY"]),
        json!({ "team": "data" }),
        json!("x\n"),
    ];
    assert_eq!(told, expected.each_ref());
    assert!(!text.contains("hidden"), "{text}");
}

#[test]
fn story_8_1_a_unique_prefix_is_accepted_and_an_ambiguous_one_rejected() {
    let (database, daemon) = daemon();
    let cli = daemon.cli();
    let ids = [daemon.http().submit("1"), daemon.http().submit("2")];
    // IDs begin with the time; these differ early enough to be shortened.
    let known = ["exec_0aaa00000000000000000000aa", "exec_0aab00000000000000000000bb"];
    for (id, known) in ids.iter().zip(known) {
        daemon.http().wait(id);
        database.execute(&format!(
            "INSERT INTO executions (id, runtime, script_name, timeout_ms, memory_bytes, cpus_milli, max_attempts, status, completed_at)
             VALUES ('{known}', 'python:3.11', 's.py', 1000, 1, 1, 1, 'cancelled', now())"
        ));
    }
    assert!(cli.ok(&["status", "exec_0aab"]).starts_with(&format!("Execution: {}\n", known[1])));
    // Also without `exec_`.
    assert!(cli.ok(&["status", "0aaa"]).starts_with(&format!("Execution: {}\n", known[0])));
    let ambiguous = "error: the ID is ambiguous: 2 executions begin with it; use a longer prefix\n";
    assert_refused(&cli, &["status", "exec_0aa"], 1, ambiguous);
    let unknown = "error: no such execution: exec_zzz\n  hint: list executions with `rgrid list`\n";
    assert_refused(&cli, &["status", "exec_zzz"], 3, unknown);
    assert_eq!(cli.run(&["status", ""]).code, 2);
}

#[test]
fn story_8_1_watch_shows_each_change_until_the_end() {
    let (_database, daemon) = daemon();
    let id = daemon.http().submit("import time; time.sleep(2)");
    let shown = daemon.cli().ok(&["status", "--watch", &id]);
    let seen: Vec<_> = shown.lines().filter(|line| line.starts_with("Status: ")).collect();
    assert_eq!(seen.last(), Some(&"Status: completed"), "{shown}");
    assert!(seen.contains(&"Status: running"), "{shown}");
}
