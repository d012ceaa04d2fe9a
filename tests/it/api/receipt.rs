//! A receipt's `docker run` line does the same as RGrid.

use std::process::Command;

use serde_json::json;

use crate::support::{DaemonBuilder, Database, Index};

#[test]
fn the_docker_run_line_does_the_same() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    let http = daemon.http();
    let script = "import os, sys\nprint(sys.argv[1:], os.environ['WHO'], open('in.txt').read())";
    // Python would take this name for an option.
    let more = json!({ "script": { "name": "-V", "content": script }, "args": ["a b", "$(id)", "it's"], "env": { "WHO": "secret-value" }, "network": false,
        "files": [{ "name": "in.txt", "content_base64": "aGVsbG8=" }] });
    let id = http.submit_with("", more);
    let end = http.wait(&id);
    assert_eq!(end["status"], "completed", "{end}");
    assert!(end["stdout"].as_str().unwrap().starts_with("['a b', "), "{end}");

    let answer = http.get(&format!("/api/v1/executions/{id}/receipt"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!answer.body.contains("secret-value"));
    let receipt = answer.json();
    assert!(receipt["image_digest"].as_str().unwrap().starts_with("sha256:"), "{receipt}");
    assert_eq!(
        (&receipt["files"][0]["name"], &receipt["limits"]["network"]),
        (&json!("in.txt"), &json!(false))
    );

    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(1000), Some(1000)).unwrap();
    std::fs::write(folder.path().join("-V"), script).unwrap();
    std::fs::write(folder.path().join("in.txt"), "hello").unwrap();
    let line = receipt["docker_run"].as_str().unwrap();
    let by_hand =
        Command::new("sh").args(["-c", line]).env("WHO", "secret-value").current_dir(folder.path()).output();
    let by_hand = by_hand.unwrap();
    let said = String::from_utf8_lossy(&by_hand.stderr);
    assert_eq!(end["stdout"].as_str().unwrap(), String::from_utf8(by_hand.stdout).unwrap(), "{line}\n{said}");
}

#[test]
fn the_docker_run_line_installs_the_requirements() {
    let index = Index::new().with_module("hello", "1.0");
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    let more = json!({ "requirements": index.requirements("hello==1.0  # it's \"quoted\"") });
    let script = "import hello; print(hello.VERSION)";
    let id = daemon.http().submit_with(script, more);
    assert_eq!(daemon.http().wait(&id)["stdout"], "1.0\n");
    let receipt = daemon.http().get(&format!("/api/v1/executions/{id}/receipt")).json();
    // Contains only what the receipt lists.
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(1000), Some(1000)).unwrap();
    std::fs::write(folder.path().join("script.py"), script).unwrap();
    // The test's index is on the host's network.
    let line = receipt["docker_run"].as_str().unwrap().replace("--network bridge", "--network host");
    let by_hand = Command::new("sh").args(["-c", &line]).current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&by_hand.stderr);
    assert_eq!(String::from_utf8_lossy(&by_hand.stdout), "1.0\n", "{line}\n{said}");
}

#[test]
fn the_cli_shows_the_receipt() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    let cli = daemon.cli();
    cli.write("sum.py", "print('x')");
    cli.write("data.csv", "1,2\n");
    let asked =
        ["run", "-q", "-e", "WHO=secret-value", "--timeout", "90s", "--no-network", "sum.py", "data.csv"];
    let id = cli.ok(&asked).trim().to_owned();
    cli.ok(&["wait", &id]);
    let shown = cli.ok(&["receipt", &id]);
    for part in [
        "Image: python:3.11-slim\n",
        "Digest: sha256:",
        "File: data.csv (4 B, sha256:",
        "Variable: WHO\n",
        "Timeout: 1m 30s\n",
        "Network: none\n",
    ] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
    assert!(!shown.contains("secret-value"), "{shown}");
    let document = cli.ok(&["receipt", "--json", &id[..20]]);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&document).unwrap(),
        daemon.http().get(&format!("/api/v1/executions/{id}/receipt")).json()
    );
    let line = daemon.http().get(&format!("/api/v1/executions/{id}/receipt")).json();
    assert_eq!(shown.lines().last(), line["docker_run"].as_str());
    assert_eq!(cli.run(&["receipt", "exec_zzz"]).code, 3);
}
