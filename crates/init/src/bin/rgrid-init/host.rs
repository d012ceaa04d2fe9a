//! What the container was started with.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::{Gid, Uid, geteuid, setegid, seteuid};
use rgrid_init::Token;

pub struct Host {
    pub token: Token,
    /// How long to wait for a job.
    pub park_ttl: Duration,
    /// How long to wait for a daemon once the run has ended.
    pub orphan_ttl: Duration,
    pub workspace: PathBuf,
    /// Where a script can write beside the workspace.
    pub scratch: Vec<PathBuf>,
    /// Whom setup and script run as; nobody else than now when this is not root (in tests).
    pub user: Option<u32>,
}

/// Nobody, whom files of strangers are shown to belong to, and those above have a meaning of their own.
const LAST_USER: u32 = 65_533;
const SCRATCH: &str = "/tmp:/dev/shm:/dev/mqueue";

impl Host {
    pub fn from_env() -> Result<Self, String> {
        let token =
            Token::parse(&required("RGRID_TOKEN")?).map_err(|error| format!("RGRID_TOKEN: {error}"))?;
        let user = parsed("RGRID_UID", env::var("RGRID_UID").unwrap_or_else(|_| "1000".to_owned()))?;
        Ok(Self {
            token,
            park_ttl: milliseconds("RGRID_PARK_TTL_MS")?,
            orphan_ttl: milliseconds("RGRID_ORPHAN_TTL_MS")?,
            workspace: env::var_os("RGRID_WORKSPACE").map_or_else(|| "/workspace".into(), PathBuf::from),
            scratch: env::split_paths(&env::var_os("RGRID_SCRATCH").unwrap_or_else(|| SCRATCH.into()))
                .collect(),
            user: geteuid().is_root().then_some(user),
        })
    }

    /// The next job's user is nobody who has been here.
    pub fn take_next_user(&mut self) -> Result<(), String> {
        match &mut self.user {
            Some(id) if *id >= LAST_USER => Err("There is no user left for another job.".to_owned()),
            Some(id) => {
                *id += 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Does `work` with the rights of the script: the init has no right to override those of files.
    /// Only while no process of the script is alive.
    pub fn as_script<T>(&self, work: impl FnOnce() -> T) -> Result<T, String> {
        let _guard = match self.user {
            Some(id) => Some(ScriptIdentity::put_on(id)?),
            None => None,
        };
        Ok(work())
    }
}

/// Root again when dropped.
struct ScriptIdentity;

impl ScriptIdentity {
    fn put_on(id: u32) -> Result<Self, String> {
        // Made first, so that a half-done change is undone as well.
        let guard = Self;
        setegid(Gid::from_raw(id))
            .and_then(|()| seteuid(Uid::from_raw(id)))
            .map_err(|error| format!("the user {id} could not be taken on: {error}"))?;
        Ok(guard)
    }
}

impl Drop for ScriptIdentity {
    fn drop(&mut self) {
        let root = seteuid(Uid::from_raw(0)).and_then(|()| setegid(Gid::from_raw(0)));
        if root.is_err() {
            // An init that can't be root again can't kill the next process either.
            std::process::abort();
        }
    }
}

fn required(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("the environment variable {name} is missing"))
}

fn milliseconds(name: &str) -> Result<Duration, String> {
    Ok(Duration::from_millis(parsed(name, required(name)?)?))
}

fn parsed<T: std::str::FromStr>(name: &str, value: String) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name} is not a number: {value}"))
}
