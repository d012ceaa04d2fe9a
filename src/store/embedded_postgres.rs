//! The private Postgres of a daemon without a configured database.
//!
//! It uses the installed binaries, stores its data in `data_dir/postgres`, listens on a Unix socket only and never runs
//! as root. It survives a killed daemon, and the next start finds it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, fchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use diesel::connection::SimpleConnection;
use diesel::dsl::{exists, select};
use diesel::prelude::*;
use thiserror::Error;

/// The longest path of a Unix socket on Linux, less the file name that Postgres appends.
const SOCKET_FOLDER_MAX: usize = 80;
/// Seconds that `pg_ctl` waits for a start (crash recovery included) or a stop.
const WAIT_SECONDS: &str = "60";
const HOME: &str = "postgres";
const DATA: &str = "data";
const DATABASE: &str = "rgrid";
const ROLE: &str = "rgrid";

// Tables of Postgres itself.
diesel::table! {
    pg_roles (rolname) {
        rolname -> Text,
    }
}
diesel::table! {
    pg_database (datname) {
        datname -> Text,
    }
}

#[derive(Debug, Error)]
pub enum EmbeddedError {
    #[error(
        "no Postgres server is installed, and no database.url is set: install one \
         (`apt-get install postgresql`, or `make setup`), or set database.url (DATABASE_URL)"
    )]
    NotInstalled,
    #[error("Postgres does not run as root, and there is no user `postgres` to run it: install postgresql")]
    NoUser,
    #[error("{action}: {source}")]
    Io { action: String, source: std::io::Error },
    #[error("{action} failed: {output}")]
    Failed { action: String, output: String },
}

/// A private Postgres that is running.
pub struct EmbeddedPostgres {
    programs: PathBuf,
    data: PathBuf,
    socket: PathBuf,
    /// The uid and gid that it runs as if the daemon is root.
    user: Option<(u32, u32)>,
}

impl EmbeddedPostgres {
    /// Whether it was created, running or not.
    pub fn exists(data_dir: &Path) -> bool {
        // initdb writes this file.
        data_dir.join(HOME).join(DATA).join("PG_VERSION").exists()
    }

    /// Blocking. Creates it on the first start.
    pub fn start(data_dir: &Path, bin_dir: &Path) -> Result<Self, EmbeddedError> {
        let home = data_dir.join(HOME);
        let postgres = Self {
            programs: find_programs(bin_dir).ok_or(EmbeddedError::NotInstalled)?,
            data: home.join(DATA),
            socket: socket_folder(&home),
            user: unprivileged_user()?,
        };
        postgres.create_folder(&home, 0o755)?;
        postgres.create_folder(&postgres.data, 0o700)?;
        postgres.create_folder(&postgres.socket, 0o700)?;
        if !Self::exists(data_dir) {
            postgres.init()?;
        }
        let changed = postgres.reject_tcp()?;
        match postgres.is_running() {
            false => postgres.launch()?,
            true if changed => postgres.pg_ctl(&["reload"], "reloading the rules of the private Postgres")?,
            true => {}
        }
        postgres.create_database()?;
        Ok(postgres)
    }

    pub fn url(&self) -> String {
        url_for(&self.socket, ROLE, DATABASE)
    }

    /// The URL of the private Postgres of a running daemon.
    pub fn url_of_running(data_dir: &Path) -> Option<String> {
        let socket = socket_folder(&data_dir.join(HOME));
        socket.join(".s.PGSQL.5432").exists().then(|| url_for(&socket, ROLE, DATABASE))
    }

    /// Blocking. Starts it again if its process is gone, and returns whether it was.
    pub fn restart_if_dead(&self) -> Result<bool, EmbeddedError> {
        if self.process_lives() {
            return Ok(false);
        }
        self.launch()?;
        Ok(true)
    }

    fn process_lives(&self) -> bool {
        // A server that was killed leaves its pid file behind.
        let file = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let pid = file.lines().next().unwrap_or_default().trim().to_owned();
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        !pid.is_empty() && name.trim() == "postgres"
    }

    /// Blocking. Shuts it down cleanly.
    pub fn stop(&self) -> Result<(), EmbeddedError> {
        self.pg_ctl(&["stop", "--mode=fast", "--wait", "--timeout", WAIT_SECONDS], "stopping Postgres")
    }

    fn init(&self) -> Result<(), EmbeddedError> {
        let mut initdb = self.command("initdb");
        initdb.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]);
        initdb.arg("--pgdata").arg(&self.data);
        run(initdb, "creating the private Postgres")
    }

    /// If the server ever listened on TCP, the rules of initdb, which earlier versions kept, would let every user of
    /// this host in. Returns whether they were changed.
    fn reject_tcp(&self) -> Result<bool, EmbeddedError> {
        let path = self.data.join("pg_hba.conf");
        let failed = |source| EmbeddedError::Io { action: format!("changing {}", path.display()), source };
        let rules = fs::read_to_string(&path).map_err(failed)?;
        let rejecting = rejecting_tcp(&rules);
        if rejecting == rules {
            return Ok(false);
        }
        // Not in place, because the folder's owner could have replaced the file by a link.
        let mut file = tempfile::NamedTempFile::new_in(&self.data).map_err(failed)?;
        file.write_all(rejecting.as_bytes()).map_err(failed)?;
        if let Some((uid, gid)) = self.user {
            fchown(file.as_file(), Some(uid), Some(gid)).map_err(failed)?;
        }
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(true)
    }

    fn launch(&self) -> Result<(), EmbeddedError> {
        let options = format!(
            "-c listen_addresses= -c unix_socket_directories={} -c unix_socket_permissions=0700 \
             -c max_connections=50 -c shared_buffers=32MB -c max_wal_size=256MB",
            self.socket.display()
        );
        let log = self.data.join("server.log");
        let log = log.to_string_lossy();
        let start = ["start", "--wait", "--timeout", WAIT_SECONDS, "--log", &log, "--options", &options];
        self.pg_ctl(&start, "starting the private Postgres")
    }

    fn is_running(&self) -> bool {
        self.pg_ctl(&["status"], "checking the private Postgres").is_ok()
            && PgConnection::establish(&url_for(&self.socket, "postgres", "postgres")).is_ok()
    }

    /// The daemon's role owns its database and nothing else.
    fn create_database(&self) -> Result<(), EmbeddedError> {
        let create = || -> Result<(), Box<dyn std::error::Error>> {
            let mut admin = PgConnection::establish(&url_for(&self.socket, "postgres", "postgres"))?;
            let role = pg_roles::table.find(ROLE);
            if !select(exists(role)).get_result::<bool>(&mut admin)? {
                admin.batch_execute(&format!("CREATE ROLE {ROLE} LOGIN"))?;
            }
            let database = pg_database::table.find(DATABASE);
            if !select(exists(database)).get_result::<bool>(&mut admin)? {
                admin.batch_execute(&format!("CREATE DATABASE {DATABASE} OWNER {ROLE}"))?;
            }
            Ok(())
        };
        let action = "creating the database".to_owned();
        create().map_err(|error| EmbeddedError::Failed { action, output: error.to_string() })
    }

    fn pg_ctl(&self, arguments: &[&str], action: &str) -> Result<(), EmbeddedError> {
        let mut command = self.command("pg_ctl");
        command.arg("--pgdata").arg(&self.data).args(arguments);
        run(command, action)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        // The user may have no access to the current folder of the daemon.
        command.current_dir("/").stdin(std::process::Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        // So that Ctrl-C in the daemon's terminal does not reach the database.
        command.process_group(0);
        command
    }

    fn create_folder(&self, path: &Path, mode: u32) -> Result<(), EmbeddedError> {
        let failed = |source| EmbeddedError::Io { action: format!("creating {}", path.display()), source };
        fs::create_dir_all(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid)).map_err(failed)?;
        }
        Ok(())
    }
}

/// The rules of a `pg_hba.conf`, in which all connections over TCP that were trusted are rejected.
fn rejecting_tcp(rules: &str) -> String {
    let reject = |line: &str| match line.trim_end().strip_suffix("trust") {
        // Also hostssl, hostnossl, hostgssenc and hostnogssenc.
        Some(start) if line.starts_with("host") => format!("{start}reject\n"),
        _ => line.to_owned(),
    };
    rules.split_inclusive('\n').map(reject).collect()
}

fn run(mut command: Command, action: &str) -> Result<(), EmbeddedError> {
    // To a file, because the server that pg_ctl starts would hold a pipe open.
    let failed = |source| EmbeddedError::Io { action: action.to_owned(), source };
    let output = tempfile::tempfile().map_err(failed)?;
    command.stdout(output.try_clone().map_err(failed)?).stderr(output.try_clone().map_err(failed)?);
    let status = command.status().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(EmbeddedError::Failed { action: action.to_owned(), output: last_lines(output) })
}

fn last_lines(mut file: fs::File) -> String {
    use std::io::{Read, Seek};
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    if read.is_err() {
        return "its output cannot be read".to_owned();
    }
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

fn url_for(socket: &Path, role: &str, database: &str) -> String {
    let folder: String = socket.to_string_lossy().replace('%', "%25").replace('/', "%2F");
    format!("postgres://{role}@{folder}/{database}")
}

/// In the data folder, or in a folder with a short path if that is too deep for a socket.
fn socket_folder(home: &Path) -> PathBuf {
    let inside = home.join("socket");
    if inside.as_os_str().len() <= SOCKET_FOLDER_MAX {
        return inside;
    }
    use sha2::{Digest, Sha256};
    let digest = base16ct::lower::encode_string(&Sha256::digest(home.as_os_str().as_encoded_bytes()));
    PathBuf::from("/tmp").join(format!("rgrid-{}", digest.get(..12).unwrap_or_default()))
}

/// `bin_dir` if it is set; otherwise PATH or the newest version in the usual folders.
fn find_programs(bin_dir: &Path) -> Option<PathBuf> {
    let has_all =
        |folder: &PathBuf| ["initdb", "pg_ctl", "postgres"].iter().all(|p| folder.join(p).is_file());
    if !bin_dir.as_os_str().is_empty() {
        return Some(bin_dir.to_owned()).filter(has_all);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).find(has_all);
    on_path.or_else(|| {
        let mut versions: Vec<PathBuf> = ["/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt"]
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .filter_map(|entry| entry.ok().map(|entry| entry.path().join("bin")))
            .filter(has_all)
            .collect();
        versions.sort_by_key(|path| version_in(path));
        versions.pop()
    })
}

fn version_in(path: &Path) -> u32 {
    let name = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    name.and_then(|name| name.split(['.', '@']).find_map(|part| part.parse().ok())).unwrap_or(0)
}

/// The uid and gid of the user `postgres` if the daemon is root.
fn unprivileged_user() -> Result<Option<(u32, u32)>, EmbeddedError> {
    let own = fs::metadata("/proc/self")
        .map_err(|source| EmbeddedError::Io { action: "looking up the current user".to_owned(), source })?;
    if own.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut fields = users.lines().map(|line| line.split(':'));
    let ids = fields.find_map(|mut user| {
        let name = user.next()?;
        let (uid, gid) = (user.nth(1)?, user.next()?);
        (name == "postgres").then(|| Some((uid.parse().ok()?, gid.parse().ok()?)))?
    });
    ids.map(Some).ok_or(EmbeddedError::NoUser)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_connections_over_tcp_are_changed() {
        let rules = "# host all all all trust\nlocal all all trust\nhost all all ::1/128   trust\n\
            hostssl all all all scram-sha-256\nhostnossl all all samenet trust";
        let expected = "# host all all all trust\nlocal all all trust\nhost all all ::1/128   reject\n\
            hostssl all all all scram-sha-256\nhostnossl all all samenet reject\n";
        assert_eq!(rejecting_tcp(rules), expected);
        assert_eq!(rejecting_tcp(expected), expected);
    }
}
