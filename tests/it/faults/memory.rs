//! The host runs out of memory.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Background, DaemonBuilder, MemoryCgroup, PrivateEngine};

const MIB: u64 = 1 << 20;
/// Of the host. Daemon, database and engine need about 250 MiB of it.
const MEMORY: u64 = 1280 * MIB;
/// Most of the memory belongs to another process, so size alone would select it.
const NEIGHBOR: u64 = 896 * MIB;
/// More than what is left, and less than the script's own limit.
const ALLOCATES: &str = "
print('begun', flush=True)
hold = []
for _ in range(450): hold.append(b'x' * (1 << 20))
print('not reached')
";

#[test]
fn the_kernel_kills_a_script_and_nothing_else_when_the_host_runs_out_of_memory() {
    let host = MemoryCgroup::new();
    let engine = PrivateEngine::in_cgroup(&host, &["python:3.11-slim"]);
    let builder = DaemonBuilder::new().with("RGRID_DOCKER__HOST", engine.host()).slots(2).in_cgroup(&host);
    let daemon = builder.start();
    let http = daemon.http();
    assert_eq!(http.wait(&http.submit("print(1)"))["status"], "completed");
    let _neighbor = neighbor(&host);
    host.limit(MEMORY);

    let postgres = pid_in(&builder.data_dir().join("postgres/data/postmaster.pid"));
    let protected = if may_lower_scores() { "-500" } else { "0" };
    assert_eq!([daemon.pid(), postgres].map(|pid| of(pid, "oom_score_adj")), [protected; 2]);
    let services = [
        (daemon.pid(), "rgridd"),
        (postgres, "postgres"),
        (pid_in(&engine.folder().join("docker.pid")), "dockerd"),
        (pid_in(&engine.folder().join("exec/containerd/containerd.pid")), "containerd"),
    ];
    let names = || services.map(|(pid, _)| of(pid, "comm"));
    assert_eq!(names(), services.map(|(_, name)| name));
    for _ in 0..3 {
        let end = http.wait(&http.submit_with(ALLOCATES, json!({ "memory_mb": 512 })));
        assert_eq!(
            (&end["failure_kind"], &end["stdout"]),
            (&json!("out_of_memory"), &json!("begun\n")),
            "{end}"
        );
        let error = end["execution_error"].as_str().unwrap();
        assert!(error.contains("the worker's host ran out of memory"), "{error}");
        assert_eq!(end["next_try"], json!(null), "{end}");
    }
    assert_eq!(host.killed_processes(), 0);
    assert_eq!(names(), services.map(|(_, name)| name));
    let next = http.wait(&http.submit("print(2)"));
    assert_eq!((&next["status"], &next["stdout"]), (&json!("completed"), &json!("2\n")), "{next}");
    assert_eq!(daemon.stop(), 0);
}

/// Root in a container, for example, may not.
fn may_lower_scores() -> bool {
    let write = "echo -500 2>/dev/null >/proc/self/oom_score_adj";
    Command::new("sh").args(["-c", write]).stderr(Stdio::null()).status().unwrap().success()
}

fn neighbor(host: &MemoryCgroup) -> Background {
    let mut command = host.command("python3");
    let holds = format!("memory = b'x' * {NEIGHBOR}; print('ready', flush=True); input()");
    command.args(["-c", &holds]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    Background(child)
}

fn pid_in(file: &Path) -> u32 {
    fs::read_to_string(file).unwrap().lines().next().unwrap().trim().parse().unwrap()
}

fn of(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default().trim().to_owned()
}
