//! Scripts that try to escape, to reach other sandboxes, or to exceed their limits. Each ends in a defined state and does
//! not harm the daemon or the host. `docs/security.md` lists the observed results.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::{Daemon, DaemonBuilder, Database, Http, containers_of, fixture, wait_until};

/// How much the daemon's memory may grow by an attack, in KiB.
const MAX_GROWTH: i64 = 48 * 1024;

struct Arena {
    // Dropped in this order, because the database checks that its daemon leaves nothing behind.
    daemon: Daemon,
    database: Database,
}

impl Arena {
    fn new(slots: usize) -> Self {
        let database = Database::new();
        let daemon = DaemonBuilder::plain(&database).slots(slots).start();
        daemon.http().wait(&daemon.http().submit("print('warm up')"));
        Self { database, daemon }
    }

    fn submit(&self, attack: &str, more: Value) -> String {
        let read = |name: &str| std::fs::read_to_string(fixture(&format!("attacks/{name}"))).unwrap();
        let helper = BASE64_STANDARD.encode(read("attack.py"));
        let mut body = json!({ "files": [{ "name": "attack.py", "content_base64": helper }] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.daemon.http().submit_with(&read(attack), body)
    }

    /// Runs the attack; afterwards, the daemon has not grown and runs another script.
    fn survives(&self, attack: &str, more: Value) -> Value {
        let before = self.memory();
        let end = self.daemon.http().wait(&self.submit(attack, more));
        let grown = self.memory() - before;
        assert!(grown < MAX_GROWTH, "{attack}: the daemon grew by {grown} KiB");
        let next = self.daemon.http().submit("print('next')");
        assert_eq!(self.daemon.http().wait(&next)["stdout"], "next\n", "after {attack}");
        end
    }

    /// Checks that every attempt of the script was refused, and their number.
    fn refuses(&self, attack: &str, attempts: usize) {
        let end = self.survives(attack, json!({}));
        let said = end["stdout"].as_str().unwrap();
        assert_eq!(end["status"], "completed", "{attack}: {end}");
        let allowed: Vec<_> = said.lines().filter(|line| line.contains("- ALLOWED")).collect();
        assert!(allowed.is_empty(), "{attack}: {allowed:?}");
        let refused = said.lines().filter(|line| line.contains("- refused: ")).count();
        assert_eq!(refused, attempts, "{attack}: {said}");
    }

    /// Resident memory of the daemon, in KiB.
    fn memory(&self) -> i64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Stops the daemon and checks that no container is left.
    fn close(self) {
        let cluster = self.database.text("SELECT cluster FROM deployment");
        assert_eq!(self.daemon.stop(), 0);
        assert_eq!(containers_of(&cluster), Vec::<String>::new());
    }
}

#[test]
fn the_root_file_system_cannot_be_written() {
    Arena::new(1).refuses("root_filesystem.py", 23);
}

#[test]
fn a_script_cannot_gain_privileges() {
    Arena::new(1).refuses("privileges.py", 19);
}

#[test]
fn a_script_cannot_trace_kill_or_read_the_init() {
    Arena::new(1).refuses("init.py", 28);
}

#[test]
fn a_script_cannot_raise_its_limits() {
    Arena::new(1).refuses("limits.py", 13);
}

#[test]
fn a_full_disk_fails_only_the_script() {
    let arena = Arena::new(1);
    arena.refuses("fill_disk.py", 4);
    arena.close();
}

#[test]
fn a_fork_bomb_ends_at_its_timeout_and_leaves_nothing() {
    let arena = Arena::new(1);
    let end = arena.survives("fork_bomb.py", json!({ "timeout_seconds": 3 }));
    assert_eq!((&end["status"], &end["failure_kind"]), (&json!("failed"), &json!("timeout")), "{end}");
    arena.close();
}

#[test]
fn exhausted_memory_is_reported_as_out_of_memory() {
    let arena = Arena::new(1);
    let end = arena.survives("fill_memory.py", json!({ "memory_mb": 64, "timeout_seconds": 60 }));
    assert_eq!((&end["status"], &end["failure_kind"]), (&json!("failed"), &json!("out_of_memory")), "{end}");
    arena.close();
}

#[test]
fn children_that_ignore_signals_do_not_delay_the_end() {
    let arena = Arena::new(1);
    let end = arena.survives("lingering.py", json!({}));
    assert_eq!((&end["status"], &end["stdout"]), (&json!("completed"), &json!("the parent ends\n")), "{end}");
    assert!(end["duration_ms"].as_u64().unwrap() < 20_000, "{end}");
    arena.close();
}

#[test]
fn forged_protocol_frames_are_plain_output() {
    let arena = Arena::new(1);
    let end = arena.survives("protocol.py", json!({}));
    assert_eq!((&end["status"], &end["exit_code"]), (&json!("failed"), &json!(7)), "{end}");
    assert!(end["stdout"].as_str().unwrap().starts_with(&"0".repeat(32)), "{end}");
    assert_eq!(end["stdout"], end["stderr"].as_str().unwrap().replace('\0', ""), "{end}");
}

#[test]
fn output_cannot_be_hidden_from_the_init() {
    let arena = Arena::new(1);
    let end = arena.survives("hidden_output.py", json!({}));
    let said = end["stdout"].as_str().unwrap();
    assert!(said.starts_with("heard\n") && said.ends_with("heard through a copy\n"), "{end}");
    assert!(!said.contains("ALLOWED") && !said.contains("unheard"), "{said}");
    assert_eq!(end["status"], "completed");
}

#[test]
fn only_regular_files_of_the_script_become_outputs() {
    let arena = Arena::new(1);
    let end = arena.survives("outputs.py", json!({}));
    assert_eq!(end["status"], "completed", "{end}");
    let said = end["stdout"].as_str().unwrap();
    assert!(!said.contains("ALLOWED"), "{said}");
    let outputs: Vec<_> = end["outputs"].as_array().unwrap().iter().collect();
    assert_eq!(outputs.len(), 99, "the first hundred names without a sparse file of 1 TiB");
    let names: Vec<_> = outputs.iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(names[..3], ["..hidden", "good.txt", &"l".repeat(255)]);
    assert!(names[3..].iter().all(|name| name.starts_with('n')), "{names:?}");
    let http = arena.daemon.http();
    let id = end["id"].as_str().unwrap();
    assert_eq!(http.get(&format!("/api/v1/executions/{id}/outputs/good.txt")).body, "good");
    for stolen in ["passwd", "root/etc/passwd", "folder/etc/passwd", "../etc/passwd", "environ"] {
        let path = format!("/api/v1/executions/{id}/outputs/{stolen}");
        assert_eq!(http.get(&path).status, 404, "{stolen}");
    }
    arena.close();
}

#[test]
fn a_sandbox_cannot_reach_files_processes_or_ports_of_another() {
    let arena = Arena::new(2);
    let victim = arena.submit("victim.py", json!({}));
    let http = arena.daemon.http();
    let address = first_line(&http, &victim);
    let attack = arena.submit("neighbour.py", json!({ "args": [address] }));
    let end = http.wait(&attack);
    let said = end["stdout"].as_str().unwrap();
    assert!(!said.contains("ALLOWED"), "{said}");
    assert_eq!(said.matches("- refused: ").count(), 5, "{said}");
    assert!(said.contains("strangers []\n"), "{said}");
    assert_eq!(http.execution(&victim)["status"], "running", "the victim was affected");
    assert_eq!(http.post(&format!("/api/v1/executions/{victim}/cancel"), &json!({})).status, 202);
    http.wait(&victim);
    arena.close();
}

fn first_line(http: &Http, id: &str) -> String {
    wait_until("it has printed its address", Duration::from_secs(30), || {
        let said = http.get(&format!("/api/v1/executions/{id}/logs")).body;
        said.split_once('\n').map(|(line, _)| line.to_owned())
    })
}
