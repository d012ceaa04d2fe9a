//! Network namespaces that are lent to one sandbox after another: isolation between scripts, and lost holders.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Daemon, DaemonBuilder, Database, containers_of, docker, fixture, holders_of, is_running, sandboxes_of,
    touch, try_docker, wait_until,
};

const DEADLINE: Duration = Duration::from_secs(60);

/// Prints its network namespace.
const PRINT_NAMESPACE: &str = "import os; print(os.readlink('/proc/self/ns/net'))";

fn stdout_of(daemon: &Daemon, script: &str, more: Value) -> String {
    let id = daemon.http().submit_with(script, more);
    let end = daemon.http().wait(&id);
    daemon.wait_until_logged(&id);
    assert_eq!(end["status"], "completed", "{end}");
    end["stdout"].as_str().unwrap().to_owned()
}

fn attack(daemon: &Daemon, name: &str) -> Vec<String> {
    let read = |name: &str| std::fs::read(fixture(&format!("attacks/{name}"))).unwrap();
    let helper = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, read("attack.py"));
    let more = json!({ "files": [{ "name": "attack.py", "content_base64": helper }] });
    let said = stdout_of(daemon, &String::from_utf8(read(name)).unwrap(), more);
    said.lines().map(str::to_owned).collect()
}

/// The holder whose network a sandbox has joined.
fn joined(sandbox: &str) -> Option<String> {
    // A sandbox that is being removed cannot be inspected.
    let mode = try_docker(&["inspect", "-f", "{{.HostConfig.NetworkMode}}", sandbox]).ok()?;
    mode.strip_prefix("container:").map(str::to_owned)
}

/// Runs scripts until the parked sandbox of a daemon with one slot has joined a holder; returns both.
fn wait_for_a_lent_network(daemon: &Daemon, cluster: &str) -> (String, String) {
    wait_for_lent_networks(daemon, cluster, 1).into_iter().next().unwrap()
}

/// Runs scripts until the parked sandbox of each slot has joined a holder; returns the holders by sandbox.
fn wait_for_lent_networks(daemon: &Daemon, cluster: &str, slots: usize) -> HashMap<String, String> {
    wait_until("all parked sandboxes have joined a network", DEADLINE, || {
        // Sandboxes of earlier executions may not have been removed yet.
        let parked = sandboxes_of(cluster);
        if parked.len() != slots || !parked.iter().all(|one| is_running(one) && !daemon.ran_in(one)) {
            return None;
        }
        let lent: HashMap<_, _> = parked.iter().filter_map(|one| Some((one.clone(), joined(one)?))).collect();
        if lent.len() == slots {
            return Some(lent);
        }
        // Every slot must run one script, so none may end before the last has started.
        let http = daemon.http();
        let script = format!("import time; time.sleep({})", 0.5 * (slots - 1) as f64);
        let ids: Vec<_> = (0..slots).map(|_| http.submit(&script)).collect();
        for id in ids {
            assert_eq!(http.wait(&id)["status"], "completed");
            daemon.wait_until_logged(&id);
        }
        None
    })
}

#[test]
fn a_network_is_never_lent_to_two_sandboxes_at_the_same_time() {
    const ROUNDS: usize = 12;
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(2).start();
    let http = daemon.http();
    let script = "import os, time; begun = time.time(); time.sleep(0.3); \
                  print(os.readlink('/proc/self/ns/net'), begun, time.time())";
    for network in [true, false] {
        let ids: Vec<String> =
            (0..2 * ROUNDS).map(|_| http.submit_with(script, json!({ "network": network }))).collect();
        let mut stays: HashMap<String, Vec<(f64, f64)>> = HashMap::new();
        for id in ids {
            let said = http.wait(&id)["stdout"].as_str().unwrap().to_owned();
            let [namespace, begun, ended] = said.split_whitespace().collect::<Vec<_>>()[..] else {
                panic!("{said}")
            };
            let stay = (begun.parse().unwrap(), ended.parse().unwrap());
            stays.entry(namespace.to_owned()).or_default().push(stay);
        }
        for (namespace, stays) in &mut stays {
            stays.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(
                stays.windows(2).all(|pair| pair[0].1 < pair[1].0),
                "two sandboxes in {namespace}: {stays:?}"
            );
        }
    }
}

#[test]
fn a_script_finds_no_traces_of_earlier_scripts_in_its_network() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).start();
    let cluster = database.cluster();
    let (sandbox, lurked_in) = wait_for_a_lent_network(&daemon, &cluster);
    attack(&daemon, "lurks.py");
    assert!(daemon.ran_in(&sandbox));
    let met = wait_until("its network is lent again", DEADLINE, || {
        let (sandbox, holder) = wait_for_a_lent_network(&daemon, &cluster);
        let met = attack(&daemon, "meets.py");
        (holder == lurked_in && daemon.ran_in(&sandbox)).then_some(met)
    });
    let nothing = [
        "tcp []",
        "tcp6 []",
        "udp []",
        "udp6 []",
        "unix []",
        "raw []",
        "packet []",
        "arp []",
        "Ip: []",
        "Icmp: []",
        "Tcp: []",
        "Udp: []",
        "UdpLite: []",
        "the port - refused: ECONNREFUSED",
        "the abstract socket - refused: ECONNREFUSED",
        "bound without SO_REUSEADDR",
    ];
    assert_eq!(met, nothing);
}

#[test]
fn a_network_that_was_used_is_not_lent_again() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).start();
    let cluster = database.cluster();
    let (_, holder) = wait_for_a_lent_network(&daemon, &cluster);
    let said = attack(&daemon, "chatters.py");
    assert_eq!(said, ["waiting 20"]);
    wait_until("its holder is removed", DEADLINE, || (!holders_of(&cluster).contains(&holder)).then_some(()));
    for _ in 0..3 {
        let met = attack(&daemon, "meets.py");
        assert!(met.contains(&"Tcp: []".to_owned()) && !met.join("\n").contains(":1267"), "{met:#?}");
    }
}

#[test]
fn executions_get_other_networks_when_holders_are_removed_or_stopped() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(2).with("RGRID_SANDBOX__PARKED", "0").start();
    let cluster = database.cluster();
    for clear_up in [["rm", "-f"], ["kill", "-s9"], ["stop", "-t0"]] {
        wait_until("holders exist and are removed", DEADLINE, || {
            stdout_of(&daemon, PRINT_NAMESPACE, json!({}));
            // Unusable holders may be in removal.
            let held = holders_of(&cluster).into_iter().filter(|one| is_running(one));
            let gone = held.filter(|one| try_docker(&[&clear_up[..], &[one]].concat()).is_ok());
            (gone.count() > 0).then_some(())
        });
        for _ in 0..3 {
            let said = stdout_of(&daemon, "import os; print(os.listdir('/sys/class/net'))", json!({}));
            assert!(said.contains("eth0"), "after {clear_up:?}: {said}");
        }
    }
    assert_eq!(daemon.stop(), 0);
    assert_eq!(containers_of(&cluster), Vec::<String>::new());
}

#[test]
fn an_execution_whose_holder_dies_continues_without_a_network() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).start();
    let http = daemon.http();
    let cluster = database.cluster();
    let (sandbox, holder) = wait_for_a_lent_network(&daemon, &cluster);
    let script = "\
import os, time
interfaces = lambda: sorted(os.listdir('/sys/class/net'))
print(interfaces(), flush=True)
while len(interfaces()) > 1: time.sleep(0.05)
print(interfaces())
";
    let id = http.submit(script);
    http.wait_for_output(&id, "eth0");
    wait_until("its start is logged", DEADLINE, || daemon.ran_in(&sandbox).then_some(()));
    docker(&["rm", "-f", &holder]);
    let end = http.wait(&id);
    assert_eq!(
        (end["status"].as_str(), end["stdout"].as_str()),
        (Some("completed"), Some("['eth0', 'lo']\n['lo']\n")),
        "{end}"
    );
    assert!(stdout_of(&daemon, "import os; print(os.listdir('/sys/class/net'))", json!({})).contains("eth0"));
}

#[test]
fn an_adopted_execution_keeps_its_network_and_other_holders_are_removed() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database).slots(2);
    let daemon = builder.start();
    let cluster = database.cluster();
    let lent = wait_for_lent_networks(&daemon, &cluster, 2);
    // It runs until the file exists.
    let script = "\
import os, time
print('started', flush=True)
while not os.path.exists('/tmp/end'): time.sleep(0.05)
print(os.listdir('/sys/class/net'))
";
    let id = daemon.http().submit(script);
    daemon.http().wait_for_output(&id, "started");
    let (sandbox, holder) = wait_until("its start is logged", DEADLINE, || {
        lent.iter().find(|(sandbox, _)| daemon.ran_in(sandbox))
    });
    daemon.kill_9();

    let again = builder.start();
    wait_until("unused holders are removed", DEADLINE, || {
        let now = holders_of(&cluster);
        lent.values().all(|one| one == holder || !now.contains(one)).then_some(())
    });
    assert!(holders_of(&cluster).contains(holder), "the holder in use was removed");
    touch(sandbox, "/tmp/end");
    let end = again.http().wait(&id);
    assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(1)), "{end}");
    assert!(end["stdout"].as_str().unwrap().contains("eth0"), "{end}");
    wait_until("the holder is removed with its sandbox", DEADLINE, || {
        (!holders_of(&cluster).contains(holder)).then_some(())
    });
    assert_eq!(again.stop(), 0);
    assert_eq!(containers_of(&cluster), Vec::<String>::new());
}

#[test]
fn no_network_is_lent_with_fresh_network() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).with("RGRID_SANDBOX__FRESH_NETWORK", "true").start();
    let cluster = database.cluster();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let namespace = stdout_of(&daemon, PRINT_NAMESPACE, json!({}));
        assert_eq!(holders_of(&cluster), Vec::<String>::new());
        assert!(sandboxes_of(&cluster).iter().all(|sandbox| joined(sandbox).is_none()));
        seen.push(namespace);
    }
    assert_eq!(daemon.stop(), 0);
    assert_eq!(seen.len(), 4);
}
