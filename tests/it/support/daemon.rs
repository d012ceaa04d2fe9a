//! A daemon of a test's own.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Cli, Database, Events, Http, MemoryCgroup, wait_until};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);

/// How a daemon is to be started. The data folder outlives the daemon, so that it can start again.
#[derive(Clone)]
pub struct DaemonBuilder {
    settings: Vec<(String, String)>,
    arguments: Vec<String>,
    /// Of another network than the machine's.
    namespace: Option<PathBuf>,
    /// The program and arguments that start it in a cgroup.
    cgroup: Vec<String>,
    program: PathBuf,
    data: Arc<tempfile::TempDir>,
}

impl DaemonBuilder {
    pub fn new() -> Self {
        let data = tempfile::Builder::new().prefix("rgrid-test-").tempdir().unwrap();
        // The embedded Postgres runs as another user when the tests run as root.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(data.path(), open).unwrap();
        Self {
            settings: Vec::new(),
            arguments: vec!["serve".to_owned()],
            namespace: None,
            cgroup: Vec::new(),
            program: PathBuf::from(env!("CARGO_BIN_EXE_rgridd")),
            data: Arc::new(data),
        }
    }

    pub fn on(database: &Database) -> Self {
        Self::new().with("RGRID_DATABASE__URL", &database.url())
    }

    /// Parks nothing and lends no network, which spares Docker most containers: for tests of something else.
    pub fn plain(database: &Database) -> Self {
        Self::on(database).with("RGRID_SANDBOX__PARKED", "0").with("RGRID_SANDBOX__FRESH_NETWORK", "true")
    }

    pub fn at(url: &str) -> Self {
        Self::new().with("RGRID_DATABASE__URL", url)
    }

    /// Another name, and a data folder of its own.
    pub fn named(self, name: &str) -> Self {
        self.with("RGRID_WORKER__NAME", name)
    }

    pub fn lease(self, lease: &str) -> Self {
        self.with("RGRID_WORKER__LEASE", lease)
    }

    /// `serve --role ROLE`.
    pub fn role(mut self, role: &str) -> Self {
        self.arguments.extend(["--role".to_owned(), role.to_owned()]);
        self
    }

    /// With a clock that is wrong by so much, such as `+1h`. (Not below the command `faketime`: it is a process in
    /// between, which keeps signals to itself.)
    pub fn clock(self, shift: &str) -> Self {
        let library = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
            .map(|machine| format!("/usr/lib/{machine}/faketime/libfaketimeMT.so.1"))
            .into_iter()
            .find(|path| std::path::Path::new(path).exists());
        let library = library.expect("there is no libfaketime: run `make setup`");
        self.with("LD_PRELOAD", &library).with("FAKETIME", shift).with("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    /// Arms fail points (`src/failpoint.rs`).
    pub fn failing(self, points: &str) -> Self {
        if cfg!(not(feature = "failpoints")) {
            panic!("build the tests with `--features failpoints`, as `make test` does");
        }
        self.with("RGRID_FAIL", points)
    }

    /// The host's certificates, where its own pip needs them for an index behind a proxy that opens TLS.
    pub fn with_certificates(self) -> Self {
        match std::env::var("PIP_CERT") {
            Ok(bundle) => self.with("RGRID_INSTALL__CA_BUNDLE", &bundle),
            Err(_) => self,
        }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A settings file with this text.
    pub fn with_config(mut self, text: &str) -> Self {
        let path = self.data.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        self.arguments.extend(["--config".to_owned(), path.to_str().unwrap().to_owned()]);
        self
    }

    pub fn argument(&mut self, argument: &str) {
        self.arguments.push(argument.to_owned());
    }

    /// Another build than this one.
    pub fn program(self, program: &Path) -> Self {
        Self { program: program.to_owned(), ..self }
    }

    /// Starts it in another network namespace. Needs root.
    pub fn inside(mut self, namespace: &Path) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Starts it in a cgroup, with its private Postgres. Needs root.
    pub fn in_cgroup(self, cgroup: &MemoryCgroup) -> Self {
        Self { cgroup: cgroup.enter().to_vec(), ..self }
    }

    pub fn slots(self, slots: usize) -> Self {
        self.with("RGRID_WORKER__SLOTS", &slots.to_string())
    }

    pub fn data_dir(&self) -> &std::path::Path {
        self.data.path()
    }

    /// Another command of the daemon's binary with the same settings, beside the daemon or without it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("RGRID_DATA_DIR", self.data.path())
            .env_remove("DATABASE_URL")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Makes a key; returns it as it was shown.
    pub fn key(&self, name: &str, scopes: &str) -> String {
        let output = self.command(&["keys", "create", "--name", name, "--scope", scopes]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The daemon itself, not started.
    pub fn serving(&self) -> Command {
        // `sh` and `nsenter` replace themselves: they become the daemon.
        let mut words = self.cgroup.clone();
        let inside = self.namespace.iter().map(|namespace| format!("--net={}", namespace.display()));
        words.extend(inside.flat_map(|net| ["nsenter".to_owned(), net]));
        words.push(self.program.to_str().unwrap().to_owned());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(&self.arguments)
            .env("RGRID_HTTP__LISTEN", "127.0.0.1:0")
            .env("RGRID_DATA_DIR", self.data.path())
            .env("RGRID_LOG__FORMAT", "json")
            .env("RGRID_WORKER__SLOTS", "2")
            // The rules of a whole machine are no test's to change; `fence.rs` has a machine of its own.
            .env("RGRID_SANDBOX__FIREWALL", "off")
            // And those that a daemon of this machine has made for its own sandboxes must not hold here.
            .env("RGRID_SANDBOX__NETWORK_NAME", "rgrid-test")
            .env_remove("DATABASE_URL")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    pub fn start(&self) -> Daemon {
        let mut command = self.serving();
        command.stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, stderr) = (Arc::clone(&log), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let mut daemon = Daemon { child, log, url: String::new(), _data: Arc::clone(&self.data) };
        daemon.url = daemon.wait_for_address();
        daemon
    }
}

pub struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    url: String,
    _data: Arc<tempfile::TempDir>,
}

impl Daemon {
    pub fn http(&self) -> Http {
        Http::new(&self.url)
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    pub fn events(&self, execution: &str, behind: Option<&str>) -> Events {
        Events::open(&self.url, execution, behind)
    }

    pub fn cli(&self) -> Cli {
        Cli::new(&self.url)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All log lines so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Whether a script was started in a sandbox.
    pub fn ran_in(&self, sandbox: &str) -> bool {
        self.log().iter().any(|line| line.contains("\"running\"") && line.contains(&sandbox[..12]))
    }

    /// Waits until all that is logged of an execution that has ended is there to be read.
    pub fn wait_until_logged(&self, id: &str) {
        let ends = ["\"completed\"", "\"failed\"", "\"cancelled\""];
        wait_until("its end is logged", Duration::from_secs(30), || {
            let of_the_end = |line: &String| line.contains(id) && ends.iter().any(|end| line.contains(end));
            self.log().iter().any(of_the_end).then_some(())
        });
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Whether it has logged such a line.
    pub fn has_said(&self, words: &str) -> bool {
        self.log().iter().any(|line| line.contains(words))
    }

    pub fn is_ready(&self) -> bool {
        self.http().get("/readyz").status == 200
    }

    /// As power loss would.
    pub fn kill_9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    pub fn stop(mut self) -> i32 {
        self.signal("-TERM");
        self.wait_for_end()
    }

    /// Its exit code, or the signal that killed it, below 0.
    pub fn wait_for_end(&mut self) -> i32 {
        let ended = wait_until("the daemon ends", STOP, || self.child.try_wait().unwrap());
        ended.code().unwrap_or_else(|| {
            eprintln!("--- the daemon's last words\n{}", self.log().join("\n"));
            -ended.signal().unwrap_or_default()
        })
    }

    fn wait_for_address(&mut self) -> String {
        wait_until("the daemon is ready", START, || {
            if let Some(ended) = self.child.try_wait().unwrap() {
                panic!("the daemon ended at its start ({ended}):\n{}", self.log().join("\n"));
            }
            self.log().iter().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["msg"] == "ready").then(|| line["address"].as_str().unwrap().to_owned())
            })
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            self.signal("-TERM");
            let begun = std::time::Instant::now();
            while begun.elapsed() < STOP && self.child.try_wait().ok().flatten().is_none() {
                std::thread::sleep(Duration::from_millis(20));
            }
            // A test that failed may have left it unable to stop.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log().join("\n"));
        }
    }
}
