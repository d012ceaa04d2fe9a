//! Postgres over TLS with the test's own certificates: `sslmode=verify-full` verifies them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{DaemonBuilder, free_port, make_certificates};

/// A Postgres that accepts TCP connections only with TLS. Dropping it stops it.
struct TlsPostgres {
    folder: tempfile::TempDir,
    port: u16,
}

impl TlsPostgres {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("rgrid-tls-").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let port = free_port();
        let server = Self { folder, port };
        make_certificates(server.folder.path());
        if is_root() {
            run(Command::new("chown").args(["-R", "postgres"]).arg(server.folder.path()));
        }
        let path = server.folder.path().display().to_string();
        server.as_postgres(&format!(
            "initdb -D {path}/data -U rgrid --auth=trust --no-sync
             printf 'hostssl all all 127.0.0.1/32 trust\\nlocal all all trust\\n' > {path}/data/pg_hba.conf
             pg_ctl -D {path}/data -l {path}/data/log -w start -o \"-c ssl=on -c ssl_cert_file={path}/server.crt \\
                -c ssl_key_file={path}/server.key -c listen_addresses=127.0.0.1 -c port={port} -c fsync=off \\
                -c unix_socket_directories={path}/data\""
        ));
        server
    }

    /// Postgres refuses to run as root.
    fn as_postgres(&self, script: &str) {
        let script = format!("PATH=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1):$PATH\n{script}");
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--", "sh", "-ec"]);
                command
            }
            false => {
                let mut command = Command::new("sh");
                command.arg("-ec");
                command
            }
        };
        run(command.arg(script).current_dir("/"));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self, host: &str, mode: &str, authority: &Path) -> String {
        let authority = authority.display();
        format!("postgres://rgrid@{host}:{}/postgres?sslmode={mode}&sslrootcert={authority}", self.port)
    }
}

impl Drop for TlsPostgres {
    fn drop(&mut self) {
        let path = self.folder.path().display().to_string();
        self.as_postgres(&format!("pg_ctl -D {path}/data stop -m immediate"));
    }
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

fn run(command: &mut Command) {
    let log = tempfile::tempfile().unwrap();
    // To a file, because the server that pg_ctl starts would hold a pipe open.
    let status = command.stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap()).status().unwrap();
    if !status.success() {
        use std::io::{Read, Seek};
        let (mut log, mut said) = (log, String::new());
        log.rewind().unwrap();
        log.read_to_string(&mut said).unwrap();
        panic!("{command:?}: {said}");
    }
}

#[test]
fn the_daemon_connects_with_tls_and_accepts_only_the_right_certificate() {
    let server = TlsPostgres::start();
    let status = |url: &str| {
        let output = DaemonBuilder::new()
            .with("RGRID_DATABASE__URL", url)
            .command(&["migrate", "status"])
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (fine, said) = status(&server.url("localhost", "verify-full", &server.file("ca.crt")));
    assert!(fine, "{said}");
    // Signed by an unknown authority; for another name; and without TLS, which this server refuses.
    let (fine, said) = status(&server.url("localhost", "verify-full", &server.file("other.crt")));
    assert!(!fine && said.contains("certificate verify failed"), "{said}");
    let (fine, said) = status(&server.url("127.0.0.1", "verify-full", &server.file("ca.crt")));
    assert!(!fine && said.contains("127.0.0.1") && said.contains("does not match"), "{said}");
    let (fine, said) = status(&server.url("localhost", "disable", &server.file("ca.crt")));
    assert!(!fine && said.contains("pg_hba.conf"), "{said}");

    // An execution over TLS.
    let url = server.url("localhost", "verify-full", &server.file("ca.crt"));
    let daemon = DaemonBuilder::new().with("RGRID_DATABASE__URL", &url).slots(1).start();
    assert_eq!(daemon.http().wait(&daemon.http().submit("print('by TLS')"))["stdout"], "by TLS\n");
    let count = Command::new("sh")
        .args(["-c", &format!(
            "PATH=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1):$PATH psql -XAt -h {}/data -p {} -U rgrid postgres \
             -c \"SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'rgridd'\"",
            server.folder.path().display(), server.port
        )])
        .output()
        .unwrap();
    let count: u32 = String::from_utf8(count.stdout).unwrap().trim().parse().unwrap();
    assert!(count > 0, "no connection is encrypted");
    assert_eq!(daemon.stop(), 0);
}
