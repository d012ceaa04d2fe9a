//! A Postgres for a single test, which may restart it, stop it and fill its disk.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use diesel::{Connection, PgConnection};

use crate::support::{Proxy, free_port, wait_until};

pub struct Postgres {
    folder: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
    mounted: bool,
    /// Addresses of this host.
    listen: String,
}

impl Postgres {
    pub fn new() -> Self {
        Self::with_data_on("127.0.0.1", |_| false)
    }

    /// Listens on an address that other machines reach.
    pub fn reachable_at(address: &str) -> Self {
        Self::with_data_on(&format!("127.0.0.1,{address}"), |_| false)
    }

    /// Its tables are on a tmpfs of that many MiB; its WAL is not, as on well-configured servers.
    pub fn on_a_small_disk(mebibytes: usize) -> Self {
        Self::with_data_on("127.0.0.1", |data| {
            let size = format!("size={mebibytes}m,mode=0777");
            run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(data));
            true
        })
    }

    fn with_data_on(listen: &str, disk: impl FnOnce(&Path) -> bool) -> Self {
        let folder = tempfile::Builder::new().prefix("rgrid-pg-").tempdir().unwrap();
        run(Command::new("chown").arg("postgres").arg(folder.path()));
        let data = folder.path().join("disk");
        std::fs::create_dir(&data).unwrap();
        run(Command::new("chown").arg("postgres").arg(&data));
        let mounted = disk(&data);
        let port = free_port();
        let postgres = Self { folder, programs: programs(), port, mounted, listen: listen.to_owned() };
        let (data, log) = (postgres.data(), postgres.folder.path().join("wal"));
        run(postgres
            .owned("initdb")
            .args(["-U", "rgrid", "--auth=trust", "--no-sync", "-D"])
            .arg(data)
            .arg("-X")
            .arg(log));
        let rules = postgres.data().join("pg_hba.conf");
        let all = "local all all trust\nhost all all all trust\n";
        std::fs::write(rules, all).unwrap();
        postgres.start();
        wait_until("Postgres answers", Duration::from_secs(30), || {
            postgres.answers("postgres").then_some(())
        });
        postgres.execute("postgres", "CREATE DATABASE rgrid");
        postgres
    }

    pub fn url(&self) -> String {
        url(self.port, "rgrid")
    }

    /// For a machine that reaches this host at that address.
    pub fn url_at(&self, address: &str) -> String {
        format!("postgres://rgrid@{address}:{}/rgrid", self.port)
    }

    /// The URL through a proxy.
    pub fn proxied(&self) -> (Proxy, String) {
        let proxy = Proxy::to(self.port);
        let url = url(proxy.port(), "rgrid");
        (proxy, url)
    }

    pub fn start(&self) {
        let options = format!(
            "-p {} -c listen_addresses={} -c unix_socket_directories= -c fsync=off -c max_connections=200",
            self.port, self.listen
        );
        let log = self.folder.path().join("log");
        run(self
            .owned("pg_ctl")
            .args(["start", "-w", "-D"])
            .arg(self.data())
            .arg("-l")
            .arg(log)
            .arg("-o")
            .arg(options));
    }

    /// Like a crash: open transactions are lost.
    pub fn stop_at_once(&self) {
        run(self.owned("pg_ctl").args(["stop", "-w", "-m", "immediate", "-D"]).arg(self.data()));
    }

    pub fn restart_at_once(&self) {
        self.stop_at_once();
        self.start();
    }

    pub fn is_running(&self) -> bool {
        self.answers("postgres")
    }

    /// The folder of its tables.
    pub fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    pub fn number(&self, query: &str) -> i64 {
        crate::support::database::number(&mut self.connect(), query)
    }

    pub fn text(&self, query: &str) -> String {
        crate::support::database::text(&mut self.connect(), query)
    }

    pub fn connect(&self) -> PgConnection {
        PgConnection::establish(&self.url()).expect("the test's own Postgres does not answer")
    }

    pub fn execute(&self, database: &str, statement: &str) {
        use diesel::connection::SimpleConnection;
        PgConnection::establish(&url(self.port, database)).unwrap().batch_execute(statement).unwrap();
    }

    fn answers(&self, database: &str) -> bool {
        PgConnection::establish(&url(self.port, database)).is_ok()
    }

    fn data(&self) -> PathBuf {
        self.disk().join("data")
    }

    /// Runs as the user `postgres`, because Postgres refuses to run as root.
    fn owned(&self, program: &str) -> Command {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(self.programs.join(program)).current_dir("/");
        command.stdin(std::process::Stdio::null());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.owned("pg_ctl").args(["stop", "-w", "-m", "immediate", "-D"]).arg(self.data()).output();
        if self.mounted {
            let _ = Command::new("umount").arg("-l").arg(self.disk()).status();
        }
    }
}

fn url(port: u16, database: &str) -> String {
    format!("postgres://rgrid@127.0.0.1:{port}/{database}")
}

fn programs() -> PathBuf {
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").expect("no Postgres is installed: run `make setup`");
    let newest = versions
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|bin| bin.join("initdb").is_file())
        .max();
    newest.expect("no Postgres server is installed: run `make setup`")
}

fn run(command: &mut Command) {
    let file = tempfile::tempfile().unwrap();
    // To a file, because the server that pg_ctl starts would hold a pipe open.
    let status =
        command.stdout(file.try_clone().unwrap()).stderr(file.try_clone().unwrap()).status().unwrap();
    if !status.success() {
        use std::io::{Read, Seek};
        let (mut file, mut said) = (file, String::new());
        file.rewind().unwrap();
        file.read_to_string(&mut said).unwrap();
        panic!("{command:?}: {status}\n{said}");
    }
}
