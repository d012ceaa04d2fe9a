//! Story NEW-4: every failure has a message and a hint.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use crate::acceptance::stories::{assert_refused, daemon};
use crate::support::{Cli, DaemonBuilder, Database, Index, docker, sandboxes_of, try_docker, wait_until};

/// Failure kind, script, and the beginning of the error message.
const WAYS: [(&str, &str, &str); 5] = [
    ("exit", "raise SystemExit(3)", "the script ended with exit code 3"),
    ("exit", "import os; os.kill(os.getpid(), 11)", "the script was ended by signal 11 (SIGSEGV)"),
    ("timeout", "import time; time.sleep(60)", "the script exceeded its time limit of 5s"),
    ("out_of_memory", "x = bytearray(400 << 20)", "the script exceeded its memory limit of 64 MiB"),
    ("install", "1", "the requirements could not be installed"),
];

fn assert_explained(cli: &Cli, end: &Value, kind: &str, words: &str) {
    assert_eq!((end["status"].as_str(), end["failure_kind"].as_str()), (Some("failed"), Some(kind)), "{end}");
    let error = end["execution_error"].as_str().unwrap();
    assert!(error.starts_with(words), "{error}");
    let id = end["id"].as_str().unwrap();
    assert!(cli.ok(&["status", id]).ends_with(&format!("Error: {error}\n")));
    let waited = cli.run(&["wait", id]);
    assert!(
        waited.code != 0 && waited.stderr.starts_with(&format!("error: {error}\n  hint: ")),
        "{waited:?}"
    );
    let why = cli.ok(&["why", id]);
    assert!(why.contains("rgrid "), "no command that fixes it: {why}");
}

#[test]
fn new_4_a_failed_script_has_an_error_and_a_hint() {
    let index = Index::new();
    let (_database, daemon) = daemon();
    let (cli, http) = (daemon.cli(), daemon.http());
    for (kind, script, words) in WAYS {
        let mut more = json!({ "timeout_seconds": 5, "memory_mb": 64 });
        if kind == "install" {
            more = json!({ "requirements": index.requirements("does-not-exist") });
        }
        assert_explained(&cli, &http.wait(&http.submit_with(script, more)), kind, words);
    }
}

#[test]
fn new_4_lost_output_files_and_internal_errors_have_a_hint() {
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database).slots(1).with("RGRID_RETENTION__DISK_BUDGET", "2MiB");
    let daemon = builder.failing("run.following=panic").start();
    let (cli, http) = (daemon.cli(), daemon.http());
    let end = http.wait(&http.submit("import time; time.sleep(30)"));
    assert_explained(&cli, &end, "internal", "");
    let end =
        http.wait(&http.submit("import os; open('random', 'wb').write(os.urandom(3 << 20)); print('done')"));
    let words =
        "the script ended well, but its files were not kept: the 2 MiB that this server may store are full";
    assert_explained(&cli, &end, "output", words);
    assert_eq!(
        (&end["stdout"], &end["exit_code"], &end["outputs"]),
        (&json!("done\n"), &json!(0), &json!([]))
    );
}

#[test]
fn new_4_a_missing_image_and_a_killed_sandbox_have_a_hint() {
    let database = Database::new();
    let without_image =
        "[runtimes.test]\nimage = \"rgrid.invalid/none:1\"\ncommand = [\"x\"]\npull = \"never\"\n";
    // Without parked sandboxes, the only container is the script's.
    let builder = DaemonBuilder::plain(&database).with("RGRID_SANDBOX__PARKED", "0");
    let daemon = builder.with_config(without_image).start();
    let (cli, http) = (daemon.cli(), daemon.http());
    let end = http.wait(&http.submit_with("1", json!({ "runtime": "test" })));
    assert_explained(&cli, &end, "image", "");
    assert!(end["execution_error"].as_str().unwrap().contains("rgrid.invalid/none:1"), "{end}");

    let id = http.submit("import time; print('begun'); time.sleep(60)");
    http.wait_for_output(&id, "begun");
    for container in sandboxes_of(&database.cluster()) {
        docker(&["kill", &container]);
    }
    assert_explained(
        &cli,
        &http.wait(&id),
        "lost",
        "the sandbox was ended from outside while the script ran",
    );
}

#[test]
fn new_4_a_timeout_above_ten_minutes_is_rejected() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("a.py", "1");
    assert_refused(
        &cli,
        &["run", "--timeout", "601s", "a.py"],
        2,
        "error: --timeout: must be above 0 and at most 600 s\n",
    );
    let id = cli.ok(&["run", "-q", "a.py"]);
    assert_eq!(daemon.http().execution(id.trim())["timeout_seconds"], 600.0);
}

#[test]
fn new_4_the_timeout_kills_all_processes_in_the_container() {
    let (database, daemon) = daemon();
    let script = "\
import os, signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(['sleep', '600'], start_new_session=True)
print('begun')
time.sleep(600)
";
    let end = daemon.http().wait(&daemon.http().submit_with(script, json!({ "timeout_seconds": 5 })));
    assert_eq!((&end["failure_kind"], &end["stdout"]), (&json!("timeout"), &json!("begun\n")), "{end}");
    wait_until("no process sleeps any more", Duration::from_secs(30), || {
        let sleeps = |id: &String| try_docker(&["top", id]).is_ok_and(|top| top.contains("sleep 600"));
        (!sandboxes_of(&database.cluster()).iter().any(sleeps)).then_some(())
    });
}

#[test]
fn new_4_an_unreachable_server_a_wrong_key_and_a_wrong_address_have_distinct_errors() {
    let away = "error: cannot connect to http://127.0.0.1:1: connection refused\n  hint: start a server with `make up` or `rgridd`, or check the address (from RGRID_API_URL)\n";
    assert_refused(&Cli::new("http://127.0.0.1:1"), &["list"], 5, away);

    let other = not_rgrid();
    let words = format!(
        "error: the service at {other} is not an RGrid server (it sent text/html)\n  hint: check the address (from RGRID_API_URL)\n"
    );
    assert_refused(&Cli::new(&other), &["list"], 5, &words);

    let database = Database::new();
    let builder = DaemonBuilder::plain(&database).with("RGRID_AUTH__MODE", "keys");
    let daemon = builder.start();
    let url = format!("http://{}", daemon.http().address());
    let without = format!(
        "error: {url} requires an API key\n  hint: save one with `rgrid init`, or set RGRID_API_KEY\n"
    );
    assert_refused(&daemon.cli(), &["list"], 4, &without);
    let wrong = daemon.cli().command(&["list"]).env("RGRID_API_KEY", "rg_wrong").output().unwrap();
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(wrong.status.code(), Some(4));
    assert!(
        said.starts_with(&format!(
            "error: {url} does not recognize the API key from RGRID_API_KEY\n  hint: "
        )),
        "{said}"
    );

    let key = builder.key("me", "run");
    let nowhere = Cli::new(&format!("{url}/nowhere"));
    let output = nowhere.command(&["list"]).env("RGRID_API_KEY", key).output().unwrap();
    let words = format!(
        "error: the RGrid server at {url}/nowhere does not have this API\n  hint: check the address (from RGRID_API_URL)\n"
    );
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(5), words));
}

#[test]
fn new_4_a_server_of_another_version_is_named_with_both_versions() {
    let hint = format!(
        "  hint: the server is RGrid 9.9.9 and this is rgrid {}; use the same version for both\n",
        env!("CARGO_PKG_VERSION")
    );
    let newer = "X-RGrid-Version: 9.9.9\r\nContent-Type: application/json";
    let said = Cli::new(&answers_all("200 OK", newer, "{\"entries\": []}")).run(&["list"]);
    assert!(
        said.code == 1 && said.stderr.contains("cannot parse the response") && said.stderr.ends_with(&hint),
        "{said:?}"
    );

    let problem = json!({ "type": "about:blank", "title": "unprocessable", "status": 422, "detail": "wrong",
        "errors": [{ "field": "priority", "message": "is not known" }] });
    let head = newer.replace("json", "problem+json");
    let cli = Cli::new(&answers_all("422 Unprocessable Entity", &head, &problem.to_string()));
    cli.write("s.py", "1");
    let said = cli.run(&["run", "s.py", "--runtime", "python"]);
    assert!(
        said.code == 2 && said.stderr.contains("priority: is not known") && said.stderr.ends_with(&hint),
        "{said:?}"
    );
}

fn not_rgrid() -> String {
    answers_all("200 OK", "Content-Type: text/html", "<html>It works!</html>")
}

/// A server that sends the same response to every request.
fn answers_all(status: &str, headers: &str, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\n{headers}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    url
}
