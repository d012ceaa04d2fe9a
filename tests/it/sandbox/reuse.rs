//! `sandbox.reuse = "same-key"`: executions of one key share a sandbox and find no traces of each other.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Daemon, DaemonBuilder, Database, Http, Index, containers_of, fixture, wait_until};

fn on(database: &Database) -> DaemonBuilder {
    DaemonBuilder::on(database).slots(1).with("RGRID_SANDBOX__REUSE", "same-key")
}

/// Runs a script; returns its container and its execution.
fn run_with(daemon: &Daemon, http: &Http, script: &str, more: Value) -> (String, Value) {
    let id = http.submit_with(script, more);
    let end = http.wait(&id);
    (container_of(daemon, &id), end)
}

fn run(daemon: &Daemon, script: &str) -> (String, Value) {
    run_with(daemon, &daemon.http(), script, json!({}))
}

/// The container according to the daemon's log, which may lag behind.
fn container_of(daemon: &Daemon, id: &str) -> String {
    wait_until("its container is logged", Duration::from_secs(30), || {
        let lines = daemon.log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        let mut own = lines.filter(|line| line["execution"] == id && line["container"].is_string());
        own.next().map(|line| line["container"].as_str().unwrap().to_owned())
    })
}

#[test]
fn a_sandbox_is_used_once_by_default() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).start();
    let (first, end) = run(&daemon, "import os; print(os.getuid())");
    let (second, _) = run(&daemon, "print(1)");
    assert_eq!(end["stdout"], "1000\n");
    assert!(!first.is_empty() && first != second, "{first} {second}");
}

#[test]
fn executions_of_one_key_share_a_sandbox_and_find_no_traces_of_each_other() {
    let database = Database::new();
    let daemon = on(&database).start();
    let leaves = std::fs::read_to_string(fixture("reuse/leaves.py")).unwrap();
    let finds = std::fs::read_to_string(fixture("reuse/finds.py")).unwrap();
    let more = json!({
        "files": [{ "name": "input.txt", "content_base64": "aGVsbG8=" }],
        "secrets": { "TOKEN": "hunter2-of-another-run" },
        "args": ["hunter2-of-another-run"],
    });
    let (container, end) = run_with(&daemon, &daemon.http(), &leaves, more);
    let expected = "uid 20000 20000 []\nwritable /dev/mqueue /dev/shm /tmp /workspace\nipc True\n";
    assert_eq!((end["stdout"].as_str(), end["exit_code"].as_i64()), (Some(expected), Some(3)), "{end}");

    let (again, end) = run(&daemon, &finds);
    assert_eq!(end["stdout"], "uid 20001 20001 []\nfound []\n", "{end}");
    assert_eq!(again, container);
    assert_eq!(end["outputs"], json!([]));
}

/// Proves that the script of the test above can find traces.
#[test]
fn traces_that_are_not_cleaned_up_are_found() {
    let database = Database::new();
    let daemon = on(&database).start();
    let leaves = std::fs::read_to_string(fixture("reuse/leaves.py")).unwrap().replace("sys.exit(3)", "");
    let finds = std::fs::read_to_string(fixture("reuse/finds.py")).unwrap();
    let (_, end) = run(&daemon, &format!("{leaves}\n{finds}"));
    let found = end["stdout"].as_str().unwrap();
    for trace in [
        "/workspace/closed",
        "/tmp/.hidden",
        "/dev/shm/fifo",
        "/dev/mqueue/",
        "process ",
        "shm ",
        "sem ",
        "msg ",
        "ipc object",
        "somebody listens at b",
        "somebody listens at (",
        "/proc/self/net/unix",
    ] {
        assert!(found.contains(trace), "{trace}: {end}");
    }
}

#[test]
fn another_key_gets_another_sandbox() {
    let database = Database::new();
    let builder = on(&database).with("RGRID_AUTH__MODE", "keys");
    let daemon = builder.start();
    let [ann, bob] = ["ann", "bob"].map(|name| daemon.http().with_key(&builder.key(name, "read,run")));
    let container = |http: &Http| run_with(&daemon, http, "print(1)", json!({})).0;
    let anns = container(&ann);
    assert_eq!(container(&ann), anns);
    let bobs = container(&bob);
    assert_ne!(bobs, anns);
    assert_eq!(container(&bob), bobs);
    // The slot did not keep the first sandbox.
    let anew = container(&ann);
    assert!(anew != anns && anew != bobs, "{anew} {anns} {bobs}");
}

#[test]
fn an_execution_with_another_profile_gets_another_sandbox() {
    let database = Database::new();
    let daemon = on(&database).start();
    let container = |more: Value| {
        let (container, end) = run_with(&daemon, &daemon.http(), "echo 1", more);
        assert_eq!(end["status"], "completed", "{end}");
        container
    };
    let usual = json!({ "runtime": "bash" });
    let mut seen = vec![container(usual.clone())];
    assert_eq!(container(usual.clone()), seen[0]);
    for other in [
        json!({ "runtime": "bash", "memory_mb": 128 }),
        json!({ "runtime": "bash", "cpus": 0.5 }),
        json!({ "runtime": "bash", "network": false }),
        usual,
    ] {
        let container = container(other);
        assert!(!seen.contains(&container), "{container} {seen:?}");
        seen.push(container);
    }
}

#[test]
fn a_script_that_did_not_exit_by_itself_is_followed_by_a_new_sandbox() {
    let database = Database::new();
    let daemon = on(&database).start();
    let http = daemon.http();
    let eats = "x = []\nwhile True: x.append(' ' * 1_000_000)";
    let child_eats = format!(
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', {eats:?}.replace('\\\\n', chr(10))]); print('fine')"
    );
    let cases = [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", json!({}), "exit"),
        ("while True: pass", json!({ "timeout_seconds": 1 }), "timeout"),
        (eats, json!({ "memory_mb": 512 }), "out_of_memory"),
        (&child_eats, json!({}), ""),
    ];
    for (script, more, kind) in cases {
        let (before, _) = run(&daemon, "import sys; sys.exit(5)");
        let (container, end) = run_with(&daemon, &http, script, more);
        assert_eq!(container, before, "the sandbox was not reused after an exit code");
        assert_eq!(end["failure_kind"].as_str().unwrap_or_default(), kind, "{end}");
        let (after, end) = run(&daemon, "print('well')");
        assert_ne!(after, container, "after {kind}");
        assert_eq!((end["status"].as_str(), end["stdout"].as_str()), (Some("completed"), Some("well\n")));
    }
    let (before, _) = run(&daemon, "print(1)");
    let id = http.submit("import time; print('up', flush=True); time.sleep(60)");
    http.wait_for_output(&id, "up");
    http.post(&format!("/api/v1/executions/{id}/cancel"), &json!({}));
    assert_eq!(http.wait(&id)["status"], "cancelled");
    assert_eq!(container_of(&daemon, &id), before);
    assert_ne!(run(&daemon, "print(1)").0, before);
}

#[test]
fn a_sandbox_is_reused_up_to_the_limits_of_runs_and_age() {
    let database = Database::new();
    let daemon = on(&database).with("RGRID_SANDBOX__REUSE_RUNS", "2").start();
    let used: Vec<String> = (0..4).map(|_| run(&daemon, "print(1)").0).collect();
    assert_eq!(used[0], used[1]);
    assert_eq!(used[2], used[3]);
    assert_ne!(used[1], used[2]);
    let hasty = on(&database).with("RGRID_SANDBOX__REUSE_MAX_AGE", "1ms").named("hasty").start();
    daemon.stop();
    assert_ne!(run(&hasty, "print(1)").0, run(&hasty, "print(1)").0);
}

#[test]
fn a_restarted_daemon_adopts_the_second_execution_of_a_sandbox() {
    let database = Database::new();
    let builder = on(&database);
    let daemon = builder.start();
    let (container, _) = run(&daemon, "print('first'); open('first.txt', 'w').write('first')");
    let id = daemon.http().submit(
        "import time\nfor n in range(40):\n    print('line', n, flush=True); time.sleep(0.1)\nopen('second.txt', 'w').write('second')",
    );
    daemon.http().wait_for_output(&id, "line 5");
    assert_eq!(container_of(&daemon, &id), container);
    daemon.kill_9();

    let again = builder.start();
    let end = again.http().wait(&id);
    let expected: String = (0..40).map(|n| format!("line {n}\n")).collect();
    assert_eq!(
        (end["stdout"].as_str(), end["attempt"].as_u64()),
        (Some(expected.as_str()), Some(1)),
        "{end}"
    );
    assert_eq!(container_of(&again, &id), container);
    assert_eq!(end["outputs"][0]["name"], "second.txt");
    assert_eq!(end["outputs"].as_array().unwrap().len(), 1, "{end}");
    // Data of the killed daemon may still arrive at that init, so it is not reused.
    assert_ne!(run(&again, "print(1)").0, container);
}

#[test]
fn kept_sandboxes_do_not_outlive_the_daemon() {
    let database = Database::new();
    let builder = on(&database);
    let daemon = builder.start();
    let cluster = database.cluster();
    let (container, _) = run(&daemon, "print(1)");
    let is_there = || containers_of(&cluster).iter().any(|id| id.starts_with(&container));
    assert!(is_there());
    daemon.kill_9();
    let again = builder.start();
    wait_until("the kept sandbox is gone", Duration::from_secs(60), || (!is_there()).then_some(()));
    let (container, _) = run(&again, "print(1)");
    assert_eq!(run(&again, "print(1)").0, container);
    assert_eq!(again.stop(), 0);
    assert_eq!(containers_of(&cluster), Vec::<String>::new());
}

#[test]
fn a_daemon_that_dies_between_two_executions_of_a_sandbox_loses_neither() {
    let database = Database::new();
    let builder = on(&database);
    let api = DaemonBuilder::plain(&database).role("api").start();
    let id = api.http().submit("print('first')");
    let next = api.http().submit("print('second')");
    let mut dying = builder.clone().failing("run.renewing=die").serving();
    let mut dying = dying.stderr(Stdio::null()).spawn().unwrap();
    wait_until("it dies", Duration::from_secs(60), || dying.try_wait().unwrap());
    let again = builder.start();
    for (id, text) in [(id, "first\n"), (next, "second\n")] {
        let end = again.http().wait(&id);
        assert_eq!((end["stdout"].as_str(), end["attempt"].as_u64()), (Some(text), Some(1)), "{end}");
    }
    assert_eq!(again.stop(), 0);
    assert_eq!(containers_of(&database.cluster()), Vec::<String>::new());
}

#[test]
fn every_execution_of_a_reused_sandbox_has_its_requirements() {
    let database = Database::new();
    let index = Index::new().with_module("hello", "1.0");
    let daemon = on(&database).start();
    let more = json!({ "requirements": index.requirements("hello") });
    let script = "import hello, os; print(hello.VERSION, os.getuid())";
    let (first, end) = run_with(&daemon, &daemon.http(), script, more.clone());
    assert_eq!(end["stdout"], "1.0 20000\n", "{end}");
    let (second, end) = run_with(&daemon, &daemon.http(), script, more);
    assert_eq!(end["stdout"], "1.0 20001\n", "{end}");
    assert_eq!(first, second);
    // Without requirements the module does not exist.
    assert_ne!(run(&daemon, "import importlib.util as u; assert not u.find_spec('hello')").0, second);
}
