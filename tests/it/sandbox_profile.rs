//! The profile of `docs/security.md`, looked at on a live container.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Daemon, DaemonBuilder, Database, containers_of, docker, wait_until};

fn inspected() -> (Database, Daemon, Value) {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).start();
    let cluster = database.text("SELECT cluster FROM deployment");
    let container = wait_until("a parked sandbox", Duration::from_secs(30), || {
        let running = containers_of(&cluster).into_iter().next()?;
        (docker(&["inspect", "-f", "{{.State.Running}}", &running]) == "true").then_some(running)
    });
    let inspected: Value = serde_json::from_str(&docker(&["inspect", &container])).unwrap();
    (database, daemon, inspected[0].clone())
}

#[test]
fn a_live_container_has_each_line_of_the_profile() {
    let (_database, _daemon, container) = inspected();
    let (config, host) = (&container["Config"], &container["HostConfig"]);
    assert_eq!(host["CapDrop"], serde_json::json!(["ALL"]));
    let mut added: Vec<_> = host["CapAdd"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
    added.sort_unstable();
    assert_eq!(
        added.iter().map(|c| c.trim_start_matches("CAP_")).collect::<Vec<_>>(),
        ["KILL", "SETGID", "SETUID"]
    );
    let options = host["SecurityOpt"].to_string();
    assert!(options.contains("no-new-privileges") && !options.contains("unconfined"), "{options}");
    assert_eq!(host["ReadonlyRootfs"], true);
    assert_eq!(host["Privileged"], false);
    assert_eq!(host["Memory"], 512 * 1024 * 1024);
    assert_eq!(host["MemorySwap"], host["Memory"], "swap is allowed");
    assert_eq!(host["NanoCpus"], 1_000_000_000);
    assert_eq!(host["PidsLimit"], 256);
    assert_eq!(host["IpcMode"], "private");
    assert_eq!(host["LogConfig"]["Type"], "none");
    assert_eq!(host["AutoRemove"], false);
    assert_eq!(host["Binds"].as_array().map_or(0, Vec::len), 0, "a host path is mounted");
    let mounts = container["Mounts"].as_array().unwrap();
    assert!(mounts.iter().all(|m| m["Type"] == "volume" && m["RW"] == false), "{mounts:?}");
    assert_eq!(config["Tty"], false);
    assert_eq!((&config["OpenStdin"], &config["StdinOnce"]), (&Value::Bool(true), &Value::Bool(false)));
    let limits = host["Ulimits"].to_string();
    assert!(
        limits.contains("\"nofile\"") && limits.contains("1024") && limits.contains("\"core\""),
        "{limits}"
    );
    for folder in ["/workspace", "/tmp"] {
        let options = host["Tmpfs"][folder].as_str().unwrap();
        assert!(
            options.contains("nosuid") && options.contains("nodev") && options.contains("size="),
            "{options}"
        );
    }
}

#[test]
fn the_script_has_no_rights_that_it_does_not_need() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).start();
    let http = daemon.http();
    let script = std::fs::read_to_string(crate::support::fixture("rights.py")).unwrap();
    let body = serde_json::json!({ "files": [{ "name": "input.txt", "content_base64": "aGVsbG8=" }] });
    let end = http.wait(&http.submit_with(&script, body));
    let expected = "\
uid 1000 gid 1000 groups []
capabilities 0000000000000000
no-new-privileges 1
write to / refused: EROFS
write to /usr refused: EROFS
change input refused: EACCES
remove input refused: EPERM
signal the init refused: EPERM
read the init's environment refused: EACCES
input hello
";
    assert_eq!(end["stdout"].as_str().unwrap(), expected, "{end}");
}
