//! The attempts that may have started, and where, for a daemon that is restarted in the same data directory.
//!
//! An attempt counts only if its script may have started. The worker appends a line before it sends the start command to
//! an init, so an attempt without a line has certainly not started. A line needs no fsync: it survives a killed daemon
//! in the page cache. After a reboot of the host the log proves nothing, so it begins with the kernel's boot ID.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::execution::{Claim, ExecutionId, WorkerId};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const EXTENSION: &str = "starts";
/// The log is rewritten with the active claims alone when it has grown to this many bytes, about 10,000 lines.
const COMPACT_AT: u64 = 1 << 20;

/// The container in which each attempt may have started.
type Starts = HashMap<(ExecutionId, i32), String>;

/// The log of this worker.
pub struct StartLog(Mutex<Open>);

struct Open {
    path: PathBuf,
    file: File,
    size: u64,
}

impl StartLog {
    /// Must happen before the worker claims anything: without a log, each of its scripts may have started.
    pub fn create(data_dir: &Path, worker: &WorkerId) -> io::Result<Self> {
        let path = path(data_dir, worker);
        let (file, size) = write_new(&path, &Starts::new())?;
        Ok(Self(Mutex::new(Open { path, file, size })))
    }

    /// From now on, the script of this attempt may start in this container. `active` are the claims whose lines are
    /// kept when the log is compacted.
    pub fn append(
        &self,
        claim: &Claim,
        container: &str,
        active: impl FnOnce() -> Vec<Claim>,
    ) -> io::Result<()> {
        let mut open = self.0.lock();
        if open.size > COMPACT_AT {
            let active: HashSet<_> = active().iter().map(key).collect();
            let mut starts = read(&open.path)?.unwrap_or_default();
            starts.retain(|start, _| active.contains(start));
            (open.file, open.size) = write_new(&open.path, &starts)?;
        }
        let line = line(&key(claim), container);
        open.file.write_all(line.as_bytes())?;
        open.size += line.len() as u64;
        Ok(())
    }
}

/// What is known about the start of an attempt's script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartRecord<'a> {
    NotStarted,
    MayHaveStarted { container: &'a str },
    Unknown,
}

/// The starts of the workers that used this data directory before.
#[derive(Debug, Default)]
pub struct PredecessorStarts {
    starts: Starts,
    /// Workers without a log of this boot. Each of their scripts may have started.
    unknown: HashSet<WorkerId>,
}

impl PredecessorStarts {
    pub fn read(data_dir: &Path, predecessors: &[WorkerId]) -> Self {
        let mut all = Self::default();
        for worker in predecessors {
            match read(&path(data_dir, worker)) {
                Ok(Some(starts)) => all.starts.extend(starts),
                Ok(None) | Err(_) => drop(all.unknown.insert(worker.clone())),
            }
        }
        all
    }

    pub fn of(&self, claim: &Claim) -> StartRecord<'_> {
        match self.starts.get(&key(claim)) {
            Some(container) => StartRecord::MayHaveStarted { container },
            None if self.unknown.contains(&claim.worker) => StartRecord::Unknown,
            None => StartRecord::NotStarted,
        }
    }

    /// The attempts that may have started in this container.
    pub fn in_container(&self, container: &str) -> Vec<(ExecutionId, i32)> {
        let starts = self.starts.iter().filter(|(_, started_in)| *started_in == container);
        starts.map(|(start, _)| start.clone()).collect()
    }
}

/// Removes the logs of workers that have nothing left to decide.
pub fn remove_all_but(data_dir: &Path, keep: &[WorkerId]) -> io::Result<()> {
    let kept: HashSet<PathBuf> = keep.iter().map(|worker| path(data_dir, worker)).collect();
    for entry in fs::read_dir(data_dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) && !kept.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn path(data_dir: &Path, worker: &WorkerId) -> PathBuf {
    data_dir.join(format!("{worker}.{EXTENSION}"))
}

fn key(claim: &Claim) -> (ExecutionId, i32) {
    (claim.execution.clone(), claim.attempt)
}

fn line((execution, attempt): &(ExecutionId, i32), container: &str) -> String {
    format!("{execution} {attempt} {container}\n")
}

/// Replaces the log in one step, so that a kill in between leaves the old one or the new one.
fn write_new(path: &Path, starts: &Starts) -> io::Result<(File, u64)> {
    let boot = format!("{}\n", fs::read_to_string(BOOT_ID)?.trim());
    let lines = starts.iter().map(|(start, container)| line(start, container));
    let text: String = std::iter::once(boot).chain(lines).collect();
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&temporary, path)?;
    Ok((file, text.len() as u64))
}

/// `None` if the log was written before the last boot.
fn read(path: &Path) -> io::Result<Option<Starts>> {
    let text = fs::read_to_string(path)?;
    let mut lines = text.lines();
    if lines.next() != Some(fs::read_to_string(BOOT_ID)?.trim()) {
        return Ok(None);
    }
    // The last line may be torn. Its start command was not sent.
    let start = |line: &str| {
        let mut fields = line.split(' ');
        let (execution, attempt, container) = (fields.next()?, fields.next()?, fields.next()?);
        let start = (ExecutionId::from_stored(execution.to_owned()), attempt.parse().ok()?);
        Some((start, container.to_owned()))
    };
    Ok(Some(lines.filter_map(start).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(worker: &WorkerId, attempt: i32) -> Claim {
        Claim { execution: ExecutionId::generate(), attempt, worker: worker.clone() }
    }

    #[test]
    fn a_start_is_known_to_the_next_daemon_in_the_directory() {
        let (folder, worker) = (tempfile::tempdir().unwrap(), WorkerId::generate());
        let log = StartLog::create(folder.path(), &worker).unwrap();
        let (started, waiting) = (claim(&worker, 1), claim(&worker, 1));
        log.append(&started, "c1", Vec::new).unwrap();
        let starts = PredecessorStarts::read(folder.path(), &[worker]);
        assert_eq!(starts.of(&started), StartRecord::MayHaveStarted { container: "c1" });
        assert_eq!(starts.of(&waiting), StartRecord::NotStarted);
        assert_eq!(starts.in_container("c1"), [(started.execution.clone(), 1)]);
        assert!(starts.in_container("c2").is_empty());
        assert_eq!(starts.of(&Claim { attempt: 2, ..started }), StartRecord::NotStarted);
    }

    #[test]
    fn without_a_log_of_this_boot_every_script_may_have_started() {
        let (folder, worker) = (tempfile::tempdir().unwrap(), WorkerId::generate());
        let unknown = claim(&worker, 1);
        let is_unknown = || {
            let starts = PredecessorStarts::read(folder.path(), std::slice::from_ref(&worker));
            starts.of(&unknown) == StartRecord::Unknown
        };
        assert!(is_unknown(), "no log");
        fs::write(path(folder.path(), &worker), "another boot\n").unwrap();
        assert!(is_unknown(), "a log from before a reboot");
        StartLog::create(folder.path(), &worker).unwrap();
        assert!(!is_unknown());
    }

    #[test]
    fn compaction_keeps_the_starts_of_active_claims() {
        let (folder, worker) = (tempfile::tempdir().unwrap(), WorkerId::generate());
        let log = StartLog::create(folder.path(), &worker).unwrap();
        let (active, ended, waiting) = (claim(&worker, 1), claim(&worker, 1), claim(&worker, 1));
        log.append(&active, "c1", Vec::new).unwrap();
        log.append(&ended, "c2", Vec::new).unwrap();
        log.0.lock().size = COMPACT_AT + 1;
        let next = claim(&worker, 3);
        log.append(&next, "c3", || vec![active.clone(), waiting.clone()]).unwrap();
        let starts = PredecessorStarts::read(folder.path(), &[worker]);
        let known =
            [&active, &next, &ended, &waiting].map(|claim| starts.of(claim) != StartRecord::NotStarted);
        assert_eq!(known, [true, true, false, false]);
        assert_eq!(starts.in_container("c1").len(), 1);
    }

    #[test]
    fn logs_of_workers_without_claims_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let workers = [(); 2].map(|()| WorkerId::generate());
        workers.iter().for_each(|worker| drop(StartLog::create(folder.path(), worker).unwrap()));
        remove_all_but(folder.path(), &workers[1..]).unwrap();
        let exists = workers.map(|worker| path(folder.path(), &worker).exists());
        assert_eq!(exists, [false, true]);
    }
}
