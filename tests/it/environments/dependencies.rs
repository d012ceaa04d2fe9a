//! Requirements are installed before a script runs, once for all executions that need the same.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Daemon, DaemonBuilder, Database, Http, Index, environments_of, sandboxes_of, try_docker, wait_until,
};

const SHOW: &str = "import hello; print(hello.VERSION)";
const DEADLINE: Duration = Duration::from_secs(60);

fn daemon() -> (Database, Daemon) {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).with_certificates().start();
    (database, daemon)
}

fn submit(http: &Http, script: &str, requirements: &str) -> String {
    http.submit_with(script, json!({ "requirements": requirements }))
}

fn installed(http: &Http, id: &str) -> String {
    http.get(&format!("/api/v1/executions/{id}/logs?stream=install")).body
}

fn run(http: &Http, script: &str, requirements: &str) -> (Value, String) {
    let id = submit(http, script, requirements);
    let end = http.wait(&id);
    let said = installed(http, &id);
    (end, said)
}

fn assert_install_failed(end: &Value, reason: &str) {
    assert_eq!(
        (end["status"].as_str(), end["failure_kind"].as_str()),
        (Some("failed"), Some("install")),
        "{end}"
    );
    assert!(end["execution_error"].as_str().unwrap().contains(reason), "{end}");
}

#[test]
fn a_second_execution_with_the_same_requirements_installs_nothing() {
    let index = Index::new().with_module("hello", "1.0");
    let (database, daemon) = daemon();
    let http = daemon.http();
    let (first, said) = run(&http, SHOW, &index.requirements("hello==1.0"));
    assert_eq!(
        (first["status"].as_str(), first["stdout"].as_str()),
        (Some("completed"), Some("1.0\n")),
        "{first}"
    );
    assert!(said.contains("Successfully installed hello-1.0"), "{said}");
    let phases = &first["phases"];
    assert!(
        ["environment_ms", "sandbox_ms", "script_ms"].iter().all(|name| phases[name].is_u64()),
        "{phases}"
    );

    let (second, said) = run(&http, SHOW, &index.requirements("# the same\nhello==1.0   # pinned"));
    assert_eq!(second["stdout"], "1.0\n", "{second}");
    assert_eq!(said, "");
    assert_eq!(second["phases"]["environment_ms"], Value::Null, "{second}");
    assert_eq!(index.asked_for("hello"), 1);
    assert_eq!(environments_of(&database.cluster()).len(), 1);
}

#[test]
fn the_parked_sandbox_has_the_environment_of_the_last_execution() {
    let index = Index::new().with_module("hello", "1.0");
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).start();
    let first = submit(&daemon.http(), SHOW, &index.requirements("hello"));
    daemon.http().wait(&first);
    daemon.wait_until_logged(&first);
    let volume = environments_of(&database.cluster()).remove(0);
    let parked = wait_until("a parked sandbox with the environment", DEADLINE, || {
        let state = "{{.State.Running}} {{range .Mounts}}{{.Name}} {{.RW}} {{end}}";
        sandboxes_of(&database.cluster()).into_iter().find(|one| {
            // The sandbox of the last execution may not have been removed yet.
            let told = try_docker(&["inspect", "-f", state, one]).unwrap_or_default();
            !daemon.ran_in(one) && told.starts_with("true ") && told.contains(&format!("{volume} false"))
        })
    });
    let id = submit(
        &daemon.http(),
        "import hello, socket; print(socket.gethostname())",
        &index.requirements("hello"),
    );
    daemon.http().wait(&id);
    daemon.wait_until_logged(&id);
    assert!(
        daemon.ran_in(&parked),
        "the execution did not use the parked sandbox:\n{}",
        daemon.log().join("\n")
    );
}

#[test]
fn two_concurrent_executions_install_once() {
    let index = Index::new().with_module("hello", "1.0").closed();
    let (database, daemon) = daemon();
    two_at_once(&database, [&daemon, &daemon], &index);
}

#[test]
fn two_daemons_install_once() {
    let index = Index::new().with_module("hello", "1.0").closed();
    let database = Database::new();
    let one = |name| {
        let builder = DaemonBuilder::plain(&database).slots(1).with("RGRID_WORKER__NAME", name);
        builder.with("RGRID_WORKER__POLL_INTERVAL", "250ms").start()
    };
    let daemons = [one("one"), one("two")];
    two_at_once(&database, [&daemons[0], &daemons[1]], &index);
    let workers = "SELECT count(DISTINCT worker_name) FROM executions";
    assert_eq!(database.number(workers), 2);
}

fn two_at_once(database: &Database, daemons: [&Daemon; 2], index: &Index) {
    let http = daemons[0].http();
    let ids = daemons.map(|daemon| submit(&daemon.http(), SHOW, &index.requirements("hello")));
    let waits =
        |id: &String| installed(&http, id).contains("Another run is installing the same requirements");
    wait_until("one installs and the other waits", DEADLINE, || {
        (index.asked_for("hello") == 1 && ids.iter().filter(|id| waits(id)).count() == 1).then_some(())
    });
    index.open();
    let ends = ids.each_ref().map(|id| http.wait(id));
    assert!(ends.iter().all(|end| end["stdout"] == "1.0\n" && end["attempt"] == 1), "{ends:?}");
    let said = ids.each_ref().map(|id| installed(&http, id));
    let installs = said.iter().filter(|text| text.contains("Successfully installed")).count();
    assert_eq!((installs, index.asked_for("hello")), (1, 1), "{said:?}");
    assert_eq!(environments_of(&database.cluster()).len(), 1);
}

#[test]
fn a_failed_install_fails_all_waiting_executions_and_is_retried_by_the_next() {
    let index = Index::new().closed();
    let (database, daemon) = daemon();
    let http = daemon.http();
    let requirements = index.requirements("hello");
    let ids = [(); 2].map(|()| submit(&http, SHOW, &requirements));
    let waits = |id: &String| installed(&http, id).contains("this one waits");
    wait_until("one waits", DEADLINE, || {
        (index.asked_for("hello") == 1 && ids.iter().any(waits)).then_some(())
    });
    index.open();
    for id in &ids {
        assert_install_failed(&http.wait(id), "No matching distribution found for hello");
    }
    assert_eq!(index.asked_for("hello"), 1);

    assert_install_failed(&run(&http, SHOW, &requirements).0, "No matching distribution");
    assert_eq!(index.asked_for("hello"), 2);
    assert_eq!(database.number("SELECT count(*) FROM environments"), 0);
    wait_until("no volume is left", DEADLINE, || {
        environments_of(&database.cluster()).is_empty().then_some(())
    });
}

#[test]
fn a_wrong_hash_fails_the_install_with_the_reason_of_pip() {
    let index = Index::new().with_module("hello", "1.0");
    let (_database, daemon) = daemon();
    let wrong = format!("--require-hashes\nhello==1.0 \\\n    --hash=sha256:{}", "0".repeat(64));
    let (end, said) = run(&daemon.http(), SHOW, &index.requirements(&wrong));
    assert_install_failed(&end, "DO NOT MATCH THE HASHES");
    assert!(end["execution_error"].as_str().unwrap().contains("Got "), "{end}");
    assert!(said.contains("Collecting hello==1.0"), "{said}");
}

#[test]
fn an_index_that_never_answers_fails_at_the_time_limit_of_the_install() {
    let index = Index::new().closed();
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).with("RGRID_INSTALL__TIMEOUT", "3s").start();
    let (end, _) = run(&daemon.http(), SHOW, &index.requirements("hello"));
    assert_install_failed(&end, "exceeded its time limit of 3s");
    assert_eq!(end["exit_code"], Value::Null);
}

#[test]
fn a_missing_compiler_is_reported() {
    let (_database, daemon) = daemon();
    let (end, _) = run(&daemon.http(), "import ujson", "ujson==1.35");
    assert_install_failed(&end, "error: command '");
    assert!(end["execution_error"].as_str().unwrap().contains("has no compiler"), "{end}");
}

#[test]
fn a_build_that_fills_the_disk_is_stopped() {
    let index = Index::new().with_build(
        "greedy",
        "import os\nwith open(os.environ['TMPDIR'] + '/greedy', 'wb') as target:\n    for _ in range(64):\n        target.write(os.urandom(1 << 20))\n    target.flush()\nimport time\ntime.sleep(600)",
    );
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).with("RGRID_INSTALL__MAX_SIZE", "32MiB").start();
    let (end, _) = run(&daemon.http(), "import greedy", &index.requirements("greedy"));
    assert_install_failed(&end, "need more than 32 MiB of disk");
}

#[test]
fn an_environment_above_the_size_limit_is_not_kept() {
    let index = Index::new().with_module("hello", "1.0");
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).with("RGRID_INSTALL__MAX_SIZE", "8KiB").start();
    assert_install_failed(
        &run(&daemon.http(), SHOW, &index.requirements("hello")).0,
        "more than 8 KiB of disk",
    );
    assert_eq!(database.number("SELECT count(*) FROM environments"), 0);
}

#[test]
fn the_install_does_not_count_towards_the_timeout_of_the_script() {
    let index = Index::new().with_module("hello", "1.0").closed();
    let (_database, daemon) = daemon();
    let http = daemon.http();
    let more = json!({ "requirements": index.requirements("hello"), "timeout_seconds": 2 });
    let id = http.submit_with(SHOW, more);
    wait_until("the install has started", DEADLINE, || (index.asked_for("hello") > 0).then_some(()));
    let begun = std::time::Instant::now();
    wait_until("the script's time has passed", DEADLINE, || (begun.elapsed().as_secs() >= 3).then_some(()));
    index.open();
    assert_eq!(http.wait(&id)["status"], "completed");
}

#[test]
fn a_cancelled_install_leaves_no_volume() {
    let index = Index::new().with_module("hello", "1.0").closed();
    let (database, daemon) = daemon();
    let http = daemon.http();
    let id = submit(&http, SHOW, &index.requirements("hello"));
    wait_until("the install has started", DEADLINE, || (index.asked_for("hello") > 0).then_some(()));
    http.post(&format!("/api/v1/executions/{id}/cancel"), &Value::Null);
    assert_eq!(http.wait(&id)["status"], "cancelled");
    assert!(installed(&http, &id).contains("Looking in indexes"));
    wait_until("its volume is gone", DEADLINE, || {
        environments_of(&database.cluster()).is_empty().then_some(())
    });
}

#[test]
fn a_script_without_network_gets_its_requirements() {
    let index = Index::new().with_module("hello", "1.0");
    let (_database, daemon) = daemon();
    let script = "\
import hello, socket
print(hello.VERSION, [name for _, name in socket.if_nameindex()])
";
    let more = json!({ "requirements": index.requirements("hello"), "network": false });
    let end = daemon.http().wait(&daemon.http().submit_with(script, more));
    assert_eq!(end["stdout"], "1.0 ['lo']\n", "{end}");
}

#[test]
fn an_install_does_not_use_the_memory_of_the_script() {
    let (_database, daemon) = daemon();
    let script = "import pandas; print(pandas.DataFrame({'a': [1, 2]}).a.sum())";
    let more = json!({ "requirements": "pandas\n", "memory_mb": 200 });
    let end = daemon.http().wait(&daemon.http().submit_with(script, more));
    // The installed package is larger than the workspace, which may use half of the memory.
    assert_eq!(end["stdout"], "3\n", "{end}");
}

#[test]
fn the_constraints_of_the_server_apply_to_every_install() {
    let index = Index::new().with_module("hello", "1.0").with_module("hello", "2.0");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("constraints.txt");
    std::fs::write(&file, "hello<2\n").unwrap();
    let database = Database::new();
    let daemon =
        DaemonBuilder::plain(&database).with("RGRID_INSTALL__CONSTRAINTS", file.to_str().unwrap()).start();
    assert_eq!(run(&daemon.http(), SHOW, &index.requirements("hello")).0["stdout"], "1.0\n");

    // Changed constraints lead to another environment.
    std::fs::write(&file, "hello>=2\n").unwrap();
    assert_eq!(run(&daemon.http(), SHOW, &index.requirements("hello")).0["stdout"], "2.0\n");
    assert_install_failed(&run(&daemon.http(), SHOW, &index.requirements("hello==1.0")).0, "ERROR: ");
}

#[test]
fn the_index_of_the_server_is_used_if_the_requirements_name_none() {
    let index = Index::new().with_module("hello", "3.0");
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).with("RGRID_INSTALL__INDEX_URL", &index.url()).start();
    let trusted = index.requirements("hello").lines().skip(1).collect::<Vec<_>>().join("\n");
    let (end, said) = run(&daemon.http(), SHOW, &trusted);
    assert_eq!(end["stdout"], "3.0\n", "{end} {said}");
}

#[test]
fn the_password_of_the_index_is_masked() {
    let code = "import os, urllib.parse\nurl = os.environ['PIP_INDEX_URL']\n\
        print(url, urllib.parse.unquote(url))\nraise SystemExit(3)";
    let index = Index::new().with_build("leaky", code);
    let url = index.url().replace("://", "://reader:index-c0ffee%21@");
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).with("RGRID_INSTALL__INDEX_URL", &url).start();
    let requirements = index.requirements("leaky").lines().skip(1).collect::<Vec<_>>().join("\n");
    let (end, said) = run(&daemon.http(), SHOW, &requirements);
    assert_eq!(end["failure_kind"], "install", "{end} {said}");
    assert!(said.contains("://reader:***@"), "{said}");
    assert!(!said.contains("c0ffee") && !end.to_string().contains("c0ffee"), "{end} {said}");
}

#[test]
fn a_requirement_that_names_a_file_is_rejected_with_its_line() {
    let (_database, daemon) = daemon();
    for (line, words) in [
        ("-r more.txt", "line 2: -r refers to a file"),
        ("./vendored", "line 2: ./vendored refers to a file"),
        ("--target /usr", "line 2: the option --target is not supported"),
        ("x @ http://x/${PIP_INDEX_URL}", "line 2: ${PIP_INDEX_URL} is a variable"),
    ] {
        let body = json!({
            "script": { "name": "a.py", "content": "1" }, "requirements": format!("six\n{line}\n"),
        });
        let answer = daemon.http().post("/api/v1/executions", &body);
        assert_eq!(answer.status, 422, "{answer:?}");
        let error = &answer.json()["errors"][0];
        assert_eq!(error["field"], "requirements");
        assert!(error["message"].as_str().unwrap().starts_with(words), "{error}");
    }
}
