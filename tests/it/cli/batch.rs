//! `rgrid run --batch`: one script with several inputs, under one ID.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Cli, Daemon, DaemonBuilder, Database, wait_until};

/// Doubles the number in its input and writes the result to a file.
const DOUBLE: &str = "\
import sys
number = int(open(sys.argv[1]).read())
open('double.txt', 'w').write(str(2 * number))
print(sys.argv[1:])
";

fn daemon() -> (Database, Daemon) {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    (database, daemon)
}

fn inputs(cli: &Cli, numbers: &[(&str, &str)]) {
    std::fs::create_dir_all(cli.folder().join("data")).unwrap();
    for (name, number) in numbers {
        cli.write(&format!("data/{name}.csv"), number);
    }
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// The batch's ID in the line `Batch: batch_… (3 inputs)`.
fn batch_of(stderr: &str) -> String {
    let line = stderr.lines().find_map(|line| line.strip_prefix("Batch: ")).unwrap();
    line.split(' ').next().unwrap().to_owned()
}

#[test]
fn each_input_is_run_and_failures_are_listed_first() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("double.py", DOUBLE);
    inputs(&cli, &[("a", "1"), ("b", "no number"), ("c", "3")]);
    let output =
        cli.run(&["run", "-o", "out", "double.py", "--batch", "data/*.csv", "--max-parallel", "2", "more"]);
    assert_eq!(output.code, 1, "{output:?}");
    let rows: Vec<_> =
        output.stdout.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>()).collect();
    let expected = [
        ["STATUS", "INPUT"],
        ["failed", "data/b.csv"],
        ["completed", "data/a.csv"],
        ["completed", "data/c.csv"],
        ["2", "of"],
    ];
    assert_eq!(rows, expected);
    assert!(output.stdout.ends_with("2 of 3 completed, 1 did not\n"), "{output:?}");
    let out = cli.folder().join("out");
    assert_eq!((read(&out, "a/double.txt"), read(&out, "c/double.txt")), ("2".to_owned(), "6".to_owned()));
    assert!(!out.join("b").exists());
    for text in
        ["(3 inputs)", "completed: data/a.csv (", "failed: data/b.csv (the script ended with exit code 1"]
    {
        assert!(output.stderr.contains(text), "{text}: {output:?}");
    }

    let batch = batch_of(&output.stderr);
    let listed: Value = serde_json::from_str(&cli.ok(&["list", "--json", &batch])).unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 3);
    assert_eq!(listed["items"][2]["args"], serde_json::json!(["a.csv", "more"]));
    assert!(cli.ok(&["list", &batch, "--status", "failed"]).contains("data/b.csv"));
    // Download the files again into another folder.
    let saved = cli.ok(&["download", &batch, "-o", "again"]);
    assert_eq!(saved, "again/c/double.txt\nagain/a/double.txt\n");
    let waited = cli.run(&["wait", &batch]);
    assert_eq!((waited.code, waited.stdout.as_str()), (1, output.stdout.as_str()));
    assert!(waited.stderr.starts_with("  hint: "), "{waited:?}");
}

#[test]
fn an_interrupted_batch_can_be_listed_and_cancelled_by_its_id() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).slots(1).start();
    let cli = daemon.cli();
    cli.write("long.py", "import time; time.sleep(60)");
    inputs(&cli, &[("a", "1"), ("b", "2"), ("c", "3")]);
    let mut child = cli
        .command(&["run", "--batch", "data/*.csv", "--max-parallel", "2", "long.py"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let submitted = || daemon.http().get("/api/v1/executions").json()["items"].as_array().unwrap().len();
    wait_until("two are submitted", Duration::from_secs(30), || (submitted() == 2).then_some(()));
    wait_until("one runs", Duration::from_secs(30), || {
        let running = daemon.http().get("/api/v1/executions?status=running").json();
        (running["items"].as_array().unwrap().len() == 1).then_some(())
    });
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let code = wait_until("the command exits", Duration::from_secs(30), || child.try_wait().unwrap());
    assert_eq!(code.code(), Some(130));
    let stderr = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    let batch = batch_of(&stderr);
    let hint = format!(
        "  hint: 1 input was not submitted; the others continue: wait with `rgrid wait {batch}`, \
         list them with `rgrid list {batch}`, cancel them with `rgrid cancel {batch}`"
    );
    assert_eq!(stderr.lines().last().unwrap(), hint, "{stderr}");

    assert_eq!(cli.ok(&["list", &batch]).lines().count(), 3);
    assert_eq!(cli.ok(&["cancel", &batch]), format!("Batch: {batch}\nCancelled: 2 of 2\n"));
    let waited = cli.run(&["wait", &batch]);
    assert_eq!((waited.code, waited.stdout.matches("\ncancelled").count()), (1, 2), "{waited:?}");
    assert_eq!(cli.ok(&["cancel", &batch]), format!("Batch: {batch}\nCancelled: 0 of 2\n"));
}

#[test]
fn an_invalid_batch_is_rejected_before_anything_is_submitted() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("s.py", "import sys; print(sys.argv[1:])");
    inputs(&cli, &[("a", "1"), ("b", "2")]);
    let invalid: [(&[&str], &str); 6] = [
        (&["run", "s.py", "--batch", "none/*.csv"], "no file matches \"none/*.csv\""),
        (&["run", "--batch", "data/a.csv", "data/b.csv", "s.py"], "quote the pattern"),
        (&["run", "-f", "s.py", "--batch", "data/*"], "--follow cannot be used with --batch"),
        (
            &["run", "--idempotency-key", "k", "--batch", "data/*", "s.py"],
            "--idempotency-key cannot be used with --batch",
        ),
        (&["run", "--max-parallel", "2", "s.py"], "--batch"),
        (&["run", "-r", "cobol", "s.py", "--batch", "data/*"], "cobol"),
    ];
    for (line, message) in invalid {
        let output = cli.run(line);
        assert!(output.code == 2 && output.stderr.contains(message), "{line:?}: {output:?}");
    }
    for command in ["list", "cancel", "wait", "download"] {
        assert_eq!(cli.run(&[command, "batch_none"]).code, 3, "{command}");
    }
    assert_eq!(daemon.http().get("/api/v1/executions").json()["items"], serde_json::json!([]));
    let unquoted = cli.run(&["run", "s.py", "--batch", "data/a.csv", "data/b.csv"]);
    assert!(
        unquoted.code == 0 && unquoted.stderr.contains("to run a batch, quote the pattern"),
        "{unquoted:?}"
    );
    // A script may have its own option of that name.
    assert_eq!(cli.ok(&["run", "-w", "-q", "s.py", "--batch", "32"]), "['--batch', '32']\n");
}

#[test]
fn a_quiet_batch_prints_only_its_id_and_submits_all_inputs() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("place.py", "import sys; print(sys.argv[1:])");
    inputs(&cli, &[("a", "1"), ("b", "2")]);
    let output =
        cli.run(&["run", "-q", "--label", "team=data", "--batch", "data/*.csv", "place.py", "-i", "{}"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    let batch = output.stdout.trim();
    let waited = cli.run(&["wait", batch]);
    assert!(waited.stdout.ends_with("all 2 completed\n"), "{waited:?}");
    let listed: Value =
        serde_json::from_str(&cli.ok(&["list", "--json", batch, "--label", "team=data"])).unwrap();
    assert_eq!(listed["items"][1]["args"], serde_json::json!(["-i", "a.csv"]));
    assert_eq!(listed["items"][0]["labels"]["rgrid.input"], "data/b.csv");
}
