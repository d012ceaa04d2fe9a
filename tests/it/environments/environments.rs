//! Environments: read-only for scripts, complete or not used at all, removed when they are old.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    DaemonBuilder, Database, Http, Index, containers_of, docker, environments_of, remove_containers_of,
    remove_volume, sandboxes_of, wait_until,
};

const SHOW: &str = "import hello; print(hello.VERSION)";
const DEADLINE: Duration = Duration::from_secs(60);

/// Frequent maintenance, and no parked sandboxes that would use an environment.
fn with_maintenance(database: &Database, settings: &[(&str, &str)]) -> DaemonBuilder {
    let builder = DaemonBuilder::plain(database)
        .with("RGRID_SANDBOX__PARKED", "0")
        // A volume that is unused twice in a row is removed, so leave Docker time to create its container.
        .with("RGRID_ENVIRONMENTS__SWEEP_INTERVAL", "2s");
    settings.iter().fold(builder, |builder, (name, value)| builder.with(name, value))
}

fn run(http: &Http, script: &str, requirements: &str) -> Value {
    http.wait(&http.submit_with(script, json!({ "requirements": requirements })))
}

fn start_install(http: &Http, index: &Index, more: Value) -> String {
    let mut job = json!({ "requirements": index.requirements("hello") });
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let id = http.submit_with(SHOW, job);
    wait_until("the install has started", DEADLINE, || (index.asked_for("hello") > 0).then_some(()));
    id
}

/// A filter for builder containers.
fn builder_filter(cluster: &str) -> String {
    format!("name=rgrid-build-{}", &cluster.replace('-', "")[..16])
}

#[test]
fn a_script_cannot_write_into_its_environment() {
    let index = Index::new().with_module("hello", "1.0");
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    let script = "\
import errno, hello, os, sys
for path in [hello.__file__, sys.prefix + '/bin/new', '/rgrid-env/new']:
    try:
        open(path, 'a')
        print('written', path)
    except OSError as error:
        print(errno.errorcode[error.errno])
print(hello.__file__.startswith(sys.prefix), sys.prefix == os.environ['VIRTUAL_ENV'])
";
    let end = run(&daemon.http(), script, &index.requirements("hello"));
    assert_eq!(end["stdout"], "EROFS\nEROFS\nEROFS\nTrue True\n", "{end}");
}

#[test]
fn an_install_has_the_same_restrictions_as_a_script() {
    let index = Index::new().with_module("hello", "1.0").closed();
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    start_install(&daemon.http(), &index, json!({ "memory_mb": 64 }));
    let cluster = database.cluster();
    let inspected: Value = serde_json::from_str(&docker(&[
        "inspect",
        &docker(&["ps", "-q", "--filter", &builder_filter(&cluster)]),
    ]))
    .unwrap();
    let (host, mounts) = (&inspected[0]["HostConfig"], inspected[0]["Mounts"].as_array().unwrap());
    assert_eq!((&host["CapDrop"], &host["ReadonlyRootfs"]), (&json!(["ALL"]), &json!(true)));
    assert!(host["SecurityOpt"].to_string().contains("no-new-privileges"), "{host}");
    assert_eq!((&host["PidsLimit"], &host["Privileged"]), (&json!(256), &json!(false)));
    // install.memory applies, not the script's limit.
    assert_eq!(host["Memory"], 1 << 30);
    let writable: Vec<_> = mounts.iter().filter(|mount| mount["RW"] == true).collect();
    assert_eq!((writable.len(), writable[0]["Destination"].as_str()), (1, Some("/rgrid-env")), "{mounts:?}");
    assert!(mounts.iter().all(|mount| mount["Type"] == "volume"), "{mounts:?}");
    let env = inspected[0]["Config"]["Env"].to_string();
    assert!(!env.contains(&index.url()), "{env}");
    index.open();
}

#[test]
fn programs_of_the_environment_are_on_the_path() {
    let index = Index::new().with_module("hello", "1.0");
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    let script = "\
import subprocess
print(subprocess.run(['python3', '-c', 'import hello; print(hello.VERSION)'], capture_output=True, text=True).stdout)
";
    let end = run(&daemon.http(), script, &index.requirements("hello"));
    assert_eq!(end["stdout"], "1.0\n\n", "{end}");
}

#[test]
fn a_restarted_daemon_adopts_a_running_install() {
    let index = Index::new().with_module("hello", "1.0").closed();
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database);
    let daemon = builder.start();
    let id = start_install(&daemon.http(), &index, json!({ "max_attempts": 1 }));
    daemon.kill_9();

    let again = builder.start();
    index.open();
    let end = again.http().wait(&id);
    assert_eq!((end["stdout"].as_str(), end["attempt"].as_u64()), (Some("1.0\n"), Some(1)), "{end}");
    let said = again.http().get(&format!("/api/v1/executions/{id}/logs?stream=install")).body;
    assert!(said.contains("Looking in indexes") && said.contains("Successfully installed"), "{said}");
    assert_eq!(index.asked_for("hello"), 1);
    assert_eq!(environments_of(&database.cluster()).len(), 1);
}

#[test]
fn an_install_that_ends_without_a_daemon_is_used_by_the_next_one() {
    let index = Index::new().with_module("hello", "1.0").closed();
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database);
    let daemon = builder.start();
    let id = start_install(&daemon.http(), &index, json!({ "max_attempts": 1 }));
    let cluster = database.cluster();
    daemon.kill_9();
    index.open();
    wait_until("pip has exited", DEADLINE, || {
        let builder = docker(&["ps", "-q", "--filter", &builder_filter(&cluster)]);
        (docker(&["top", &builder]).lines().count() == 2).then_some(())
    });
    assert_eq!(database.number("SELECT count(*) FROM environments"), 0);

    let again = builder.start();
    let end = again.http().wait(&id);
    assert_eq!((end["stdout"].as_str(), end["attempt"].as_u64()), (Some("1.0\n"), Some(1)), "{end}");
    assert_eq!(index.asked_for("hello"), 1);
}

#[test]
fn an_incomplete_environment_is_never_used_and_costs_no_attempt() {
    let index = Index::new().with_module("hello", "1.0").closed();
    let database = Database::new();
    let builder = with_maintenance(&database, &[("RGRID_WORKER__LEASE", "2s")]);
    let daemon = builder.start();
    let id = start_install(&daemon.http(), &index, json!({ "max_attempts": 1 }));
    let cluster = database.cluster();
    let incomplete = environments_of(&cluster).remove(0);
    daemon.kill_9();
    remove_containers_of(&cluster);
    index.open();

    let again = builder.start();
    let end = again.http().wait(&id);
    assert_eq!((end["status"].as_str(), end["stdout"].as_str()), (Some("completed"), Some("1.0\n")), "{end}");
    assert_ne!(database.text("SELECT volume FROM environments"), incomplete);
    wait_until("the incomplete environment is removed", DEADLINE, || {
        (!environments_of(&cluster).contains(&incomplete)).then_some(())
    });
    assert_eq!(environments_of(&cluster).len(), 1);
}

#[test]
fn a_removed_volume_is_installed_again() {
    let index = Index::new().with_module("hello", "1.0");
    let database = Database::new();
    let daemon = with_maintenance(&database, &[("RGRID_ENVIRONMENTS__SWEEP_INTERVAL", "1h")]).start();
    let requirements = index.requirements("hello");
    run(&daemon.http(), SHOW, &requirements);
    let volume = environments_of(&database.cluster()).remove(0);
    wait_until("it can be removed", DEADLINE, || sandboxes_of(&database.cluster()).is_empty().then_some(()));
    remove_volume(&volume);
    assert_eq!(run(&daemon.http(), SHOW, &requirements)["stdout"], "1.0\n");
    assert_eq!(index.asked_for("hello"), 2);
    assert_ne!(database.text("SELECT volume FROM environments"), volume);
}

#[test]
fn an_unused_environment_is_removed_at_its_maximum_age() {
    let index = Index::new().with_module("hello", "1.0");
    let database = Database::new();
    let daemon = with_maintenance(&database, &[("RGRID_ENVIRONMENTS__MAX_AGE", "4s")]).start();
    let http = daemon.http();
    let requirements = index.requirements("hello");
    // Runs longer than the maximum age, because an environment in use must not be removed.
    let script = "import time; time.sleep(7); import hello; print(hello.VERSION)";
    assert_eq!(run(&http, script, &requirements)["stdout"], "1.0\n");
    wait_until("it is removed", DEADLINE, || environments_of(&database.cluster()).is_empty().then_some(()));
    assert_eq!(database.number("SELECT count(*) FROM environments"), 0);
    assert_eq!(run(&http, SHOW, &requirements)["stdout"], "1.0\n");
    assert_eq!(index.asked_for("hello"), 2);
}

#[test]
fn the_least_recently_used_environment_is_removed_above_the_size_limit() {
    let index = Index::new().with_module("hello", "1.0").with_module("other", "1.0");
    let database = Database::new();
    let builder = with_maintenance(&database, &[]);
    let daemon = builder.start();
    let http = daemon.http();
    run(&http, SHOW, &index.requirements("hello"));
    run(&http, "import other", &index.requirements("other"));
    run(&http, SHOW, &index.requirements("hello"));
    let latest = database.text("SELECT volume FROM environments ORDER BY last_used_at DESC LIMIT 1");
    let size = database.number("SELECT max(size_bytes) FROM environments");
    assert_eq!(environments_of(&database.cluster()).len(), 2);
    assert_eq!(daemon.stop(), 0);

    let room_for_one = (size * 3 / 2).to_string();
    let _again = with_maintenance(&database, &[("RGRID_ENVIRONMENTS__MAX_SIZE", &room_for_one)]).start();
    wait_until("one of them is removed", DEADLINE, || {
        (environments_of(&database.cluster()) == [latest.clone()]).then_some(())
    });
    assert_eq!(database.text("SELECT volume FROM environments"), latest);
}

#[test]
fn a_stopped_daemon_leaves_only_environments() {
    let index = Index::new().with_module("hello", "1.0");
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    run(&daemon.http(), SHOW, &index.requirements("hello"));
    let cluster = database.cluster();
    assert_eq!(daemon.stop(), 0);
    assert_eq!(containers_of(&cluster), Vec::<String>::new());
    assert_eq!(environments_of(&cluster).len(), 1);
}
