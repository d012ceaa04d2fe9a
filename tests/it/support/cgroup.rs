//! A memory cgroup of a test's own, for processes and for the containers of a private engine. Needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::wait_until;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Removed when it is dropped; its processes must have ended by then.
pub struct MemoryCgroup {
    name: String,
    path: PathBuf,
}

impl MemoryCgroup {
    pub fn new() -> Self {
        let name = format!("rgrid-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let root = Path::new("/sys/fs/cgroup");
        let path = if is_v1() { root.join("memory") } else { root.to_owned() }.join(&name);
        let cgroup = Self { name, path };
        fs::create_dir(&cgroup.path).expect("creating a memory cgroup needs root");
        if !is_v1() {
            for path in [root, &cgroup.path] {
                fs::write(path.join("cgroup.subtree_control"), "+memory").unwrap();
            }
        }
        fs::create_dir(cgroup.processes()).unwrap();
        cgroup
    }

    /// Of all that is in it. There is no swap beyond that.
    pub fn limit(&self, bytes: u64) {
        let files = match is_v1() {
            true => [("memory.limit_in_bytes", bytes), ("memory.memsw.limit_in_bytes", bytes)],
            false => [("memory.swap.max", 0), ("memory.max", bytes)],
        };
        for (file, bytes) in files {
            fs::write(self.path.join(file), bytes.to_string()).unwrap();
        }
    }

    /// A program that starts in it.
    pub fn command(&self, program: &str) -> Command {
        let [shell, option, line] = self.enter();
        let mut command = Command::new(shell);
        command.args([&option, &line, program]);
        command
    }

    /// A shell that enters it and becomes the program that follows.
    pub fn enter(&self) -> [String; 3] {
        let line = format!("echo $$ >{}/cgroup.procs && exec \"$0\" \"$@\"", self.processes().display());
        ["sh".to_owned(), "-c".to_owned(), line]
    }

    /// For `dockerd --cgroup-parent`. In version 2, only a cgroup without processes may have children with limits.
    pub fn of_containers(&self) -> String {
        format!("/{}/containers", self.name)
    }

    /// The processes that the kernel has killed for memory, without those in containers.
    pub fn killed_processes(&self) -> u64 {
        let file = if is_v1() { "memory.oom_control" } else { "memory.events" };
        let events = fs::read_to_string(self.processes().join(file)).unwrap();
        events.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap().trim().parse().unwrap()
    }

    fn processes(&self) -> PathBuf {
        self.path.join("processes")
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        // With version 1, Docker creates the cgroup of its containers once per controller.
        let controllers = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
        let roots = controllers.chain([PathBuf::from("/sys/fs/cgroup")]);
        for cgroup in roots.map(|root| root.join(&self.name)).filter(|cgroup| cgroup.is_dir()) {
            // A process that was killed leaves its cgroup a moment later.
            let gone = || remove(&cgroup).then_some(());
            if std::thread::panicking() {
                gone();
            } else {
                wait_until("the cgroup is empty", Duration::from_secs(10), gone);
            }
        }
    }
}

fn remove(cgroup: &Path) -> bool {
    let below = fs::read_dir(cgroup).into_iter().flatten().flatten().map(|entry| entry.path());
    for child in below.filter(|path| path.is_dir()) {
        remove(&child);
    }
    fs::remove_dir(cgroup).is_ok()
}

fn is_v1() -> bool {
    Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists()
}
