//! The profile of `docs/security.md`, inspected on a live container.

use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Daemon, DaemonBuilder, Database, Engine, docker, is_running, sandboxes_of, touch, wait_until,
};

fn inspected() -> (Database, Daemon, Value) {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).start();
    let cluster = database.text("SELECT cluster FROM deployment");
    let container = wait_until("a parked sandbox", Duration::from_secs(30), || {
        sandboxes_of(&cluster).into_iter().find(|sandbox| is_running(sandbox))
    });
    let inspected: Value = serde_json::from_str(&docker(&["inspect", &container])).unwrap();
    (database, daemon, inspected[0].clone())
}

#[test]
fn a_live_container_has_every_setting_of_the_profile() {
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
    assert_eq!(host["OomScoreAdj"], 500);
    assert_eq!(host["IpcMode"], "private");
    assert_eq!(host["CgroupnsMode"], "private");
    // Empty means a private namespace.
    for name in ["PidMode", "UTSMode", "UsernsMode"] {
        assert_eq!(host[name], "", "{name}");
    }
    assert_eq!(host["ShmSize"], 16 * 1024 * 1024);
    assert_eq!(config["User"], "0:0", "the init's user; another test checks the script's");
    assert_ne!(host["OomKillDisable"], true);
    assert_eq!(host["Runtime"], "runc");
    // By its digest, because a tag may move.
    assert_eq!(config["Image"], container["Image"]);
    assert!(config["Image"].as_str().unwrap().starts_with("sha256:"), "{}", config["Image"]);
    for name in ["Devices", "VolumesFrom", "GroupAdd", "ExtraHosts", "Dns", "Links"] {
        assert_eq!(host[name].as_array().map_or(0, Vec::len), 0, "{name}");
    }
    assert_eq!(host["PortBindings"].as_object().map_or(0, |ports| ports.len()), 0);
    let network = host["NetworkMode"].as_str().unwrap();
    let options =
        docker(&["network", "inspect", "-f", "{{json .Options}} {{.EnableIPv6}} {{.Name}}", network]);
    assert!(options.contains("\"com.docker.network.bridge.enable_icc\":\"false\""), "{options}");
    assert!(options.ends_with("false rgrid-test"), "{options}");
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
            options.contains("nosuid") && options.contains("nodev") && options.contains("size=268435456"),
            "{options}"
        );
    }
}

fn inspect(container: &str) -> Value {
    let inspected: Value = serde_json::from_str(&docker(&["inspect", container])).unwrap();
    inspected[0].clone()
}

/// Runs scripts until a holder is lent; returns the holder and the parked sandbox.
fn lent(daemon: &Daemon, cluster: &str) -> (Value, Value) {
    wait_until("a sandbox has joined a holder", Duration::from_secs(60), || {
        let [parked] = &sandboxes_of(cluster)[..] else { return None };
        // The sandbox of the last execution may not have been removed yet.
        if daemon.ran_in(parked) || !is_running(parked) {
            return None;
        }
        let parked = inspect(parked);
        match parked["HostConfig"]["NetworkMode"].as_str().unwrap().strip_prefix("container:") {
            Some(holder) => Some((inspect(holder), parked)),
            None => {
                let id = daemon.http().submit("print(1)");
                daemon.http().wait(&id);
                daemon.wait_until_logged(&id);
                None
            }
        }
    })
}

#[test]
fn a_sandbox_in_a_lent_network_has_the_same_restrictions() {
    let (database, daemon, mut own) = inspected();
    let (_, mut joined) = lent(&daemon, &database.cluster());
    for container in [&mut own, &mut joined] {
        container["HostConfig"]["NetworkMode"] = Value::Null;
    }
    assert_eq!(joined["HostConfig"], own["HostConfig"]);
    for field in ["User", "Tty", "OpenStdin", "StdinOnce", "Image", "Entrypoint", "Cmd", "Volumes"] {
        assert_eq!(joined["Config"][field], own["Config"][field], "{field}");
    }
}

#[test]
fn a_holder_has_no_capabilities_and_no_stdin() {
    let (database, daemon, _) = inspected();
    let (holder, _) = lent(&daemon, &database.cluster());
    let (config, host) = (&holder["Config"], &holder["HostConfig"]);
    assert_eq!((&host["CapDrop"], &host["CapAdd"]), (&serde_json::json!(["ALL"]), &Value::Null));
    assert!(host["SecurityOpt"].to_string().contains("no-new-privileges"));
    assert_eq!((&config["User"], &host["ReadonlyRootfs"]), (&Value::from("65534:65534"), &Value::from(true)));
    assert_eq!((&config["OpenStdin"], &config["Tty"]), (&Value::from(false), &Value::from(false)));
    assert_eq!(config["Entrypoint"], serde_json::json!(["/rgrid/init", "pause"]));
    assert_eq!((&host["Memory"], &host["PidsLimit"]), (&Value::from(32 << 20), &Value::from(16)));
    assert_eq!((&host["IpcMode"], &host["CgroupnsMode"]), (&Value::from("private"), &Value::from("private")));
    assert_eq!((&host["Privileged"], &host["AutoRemove"]), (&Value::from(false), &Value::from(false)));
    assert_eq!(host["LogConfig"]["Type"], "none");
    let mounts = holder["Mounts"].as_array().unwrap();
    assert!(mounts.len() == 1 && mounts[0]["Type"] == "volume" && mounts[0]["RW"] == false, "{mounts:?}");
    assert!(
        docker(&["network", "inspect", "-f", "{{.Name}}", host["NetworkMode"].as_str().unwrap()])
            == "rgrid-test"
    );
}

#[test]
fn a_script_sees_no_difference_between_an_own_and_a_lent_network() {
    let script = "
import glob, os, re, socket
print(socket.gethostname(), socket.gethostbyname('localhost'), sorted(os.listdir('/sys/class/net')))
print(socket.gethostbyname(socket.gethostname()) if os.path.exists('/sys/class/net/eth0') else 'no address')
for path in ['/etc/hosts', '/etc/hostname', '/etc/resolv.conf', '/proc/net/route']:
    print(path, re.sub(r'[0-9A-F]{8}|[0-9.]+[.][0-9]+', '…', open(path).read()))
for path in ['ip_unprivileged_port_start', 'ping_group_range', 'ip_forward']:
    print(path, open('/proc/sys/net/ipv4/' + path).read())
for path in ['/proc/sys/net/ipv4/ping_group_range', '/etc/hosts', '/etc/resolv.conf']:
    try: open(path, 'w').write('x'); print('ALLOWED', path)
    except OSError as error: print(path, error.errno)
";
    let databases = [Database::new(), Database::new()];
    let daemon = |database, fresh| {
        let builder = DaemonBuilder::on(database).slots(1);
        builder.with("RGRID_SANDBOX__FRESH_NETWORK", fresh).start()
    };
    let seen = |daemon: &Daemon, network: bool| {
        let http = daemon.http();
        let end = http.wait(&http.submit_with(script, serde_json::json!({ "network": network })));
        assert_eq!(end["status"], "completed", "{end}");
        let said = end["stdout"].as_str().unwrap();
        assert!(!said.contains("ALLOWED"), "{said}");
        // The address differs between networks.
        said.replace(said.lines().nth(1).unwrap(), "…")
    };
    let (own, lends) = (daemon(&databases[0], "true"), daemon(&databases[1], "false"));
    for network in [true, false] {
        let expected = seen(&own, network);
        assert!(expected.starts_with("sandbox 127.0.0.1 "), "{expected}");
        for _ in 0..6 {
            assert_eq!(seen(&lends, network), expected);
        }
    }
    let (_, parked) = lent(&lends, &databases[1].cluster());
    assert_eq!(parked["Config"]["Hostname"], "sandbox");
}

#[test]
fn a_script_has_no_privileges() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).start();
    let http = daemon.http();
    let script = std::fs::read_to_string(crate::support::fixture("rights.py")).unwrap();
    let body = serde_json::json!({ "files": [{ "name": "input.txt", "content_base64": "aGVsbG8=" }] });
    let end = http.wait(&http.submit_with(&script, body));
    let expected = "\
uid 1000 gid 1000 groups []
capabilities 0000000000000000 0000000000000000 0000000000000000
seccomp 2
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

#[test]
fn the_oom_killer_prefers_a_script_and_its_children_to_the_init() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).start();
    let http = daemon.http();
    let script = "
import os, subprocess, time
print(open('/proc/self/oom_score_adj').read().strip())
subprocess.run(['cat', '/proc/self/oom_score_adj'])
print('begun')
while not os.path.exists('/tmp/end'): time.sleep(0.05)
";
    let id = http.submit(script);
    http.wait_for_output(&id, "begun");
    let score = |container: &String| {
        let pid = docker(&["inspect", "-f", "{{.State.Pid}}", container]);
        std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap()
    };
    let mut running = sandboxes_of(&database.cluster());
    running.retain(|sandbox| is_running(sandbox));
    let scores: Vec<String> = running.iter().map(score).collect();
    running.iter().for_each(|sandbox| touch(sandbox, "/tmp/end"));
    assert!(!scores.is_empty() && scores.iter().all(|score| score == "500\n"), "{scores:?}");
    let end = http.wait(&id);
    assert_eq!(end["stdout"], "1000\n1000\nbegun\n", "{end}");
}

#[test]
fn a_script_without_network_has_only_the_loopback_interface() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).start();
    let http = daemon.http();
    let script =
        "import os; print(sorted(os.listdir('/sys/class/net')), open('/proc/net/route').read().count('eth'))";
    let end = http.wait(&http.submit_with(script, serde_json::json!({ "network": false })));
    assert_eq!(end["stdout"], "['lo'] 0\n", "{end}");

    // The server's policy overrides the request.
    let closed = DaemonBuilder::on(&database).slots(1).with("RGRID_SANDBOX__NETWORK", "none").start();
    let asked = serde_json::json!({ "script": { "name": "s.py", "content": "x" }, "network": true });
    assert_eq!(closed.http().post("/api/v1/executions", &asked).json()["errors"][0]["field"], "network");
}

#[test]
fn an_unknown_container_runtime_is_reported_with_the_available_ones() {
    let database = Database::new();
    let builder = |runtime: &str| DaemonBuilder::on(&database).with("RGRID_SANDBOX__RUNTIME", runtime);
    let refused = builder("runsc").command(&["serve"]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success(), "{said}");
    assert!(
        said.contains("sandbox.runtime: Docker has no runtime \"runsc\", only") && said.contains("runc"),
        "{said}"
    );
    let daemon = builder("runc").slots(1).start();
    assert_eq!(daemon.http().wait(&daemon.http().submit("print(1)"))["status"], "completed");
}

#[test]
fn sandboxes_run_in_the_configured_container_runtime() {
    let (engine, database) = (Engine::take(), Database::new());
    let daemon = DaemonBuilder::on(&database)
        .slots(1)
        .with("RGRID_DOCKER__HOST", &engine.host())
        .with("RGRID_SANDBOX__RUNTIME", "rgrid-other")
        .start();
    let id = daemon.http().submit("import time; print('up', flush=True); time.sleep(60)");
    daemon.http().wait_for_output(&id, "up");
    let containers = engine.containers_of(&database.cluster());
    assert!(!containers.is_empty());
    for container in containers {
        let runtime = engine.docker(&["inspect", "-f", "{{.HostConfig.Runtime}}", &container]);
        assert_eq!(runtime.trim(), "rgrid-other");
    }
    daemon.http().post(&format!("/api/v1/executions/{id}/cancel"), &serde_json::json!({}));
    assert_eq!(daemon.http().wait(&id)["status"], "cancelled");
    assert_eq!(daemon.stop(), 0);
}
