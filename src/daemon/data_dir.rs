//! The data directory. A lock ensures that one daemon at a time uses it, and its lock file names earlier workers.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, bail};

use crate::execution::WorkerId;

/// A locked data directory. The kernel releases the lock when the process ends, so the worker that held it before is
/// certainly gone, and its executions can be taken over at once.
pub(crate) struct DataDir {
    lock: File,
    /// More than one if a worker died before it had taken over from the one before, or if a script outlived several.
    pub predecessors: Vec<WorkerId>,
}

impl DataDir {
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("creating data_dir {} failed", folder.display()))?;
        let path = folder.join("worker.lock");
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("opening {} failed", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another rgridd uses the data directory {}: stop it, or give this one a directory of its own \
                 (data_dir, --data-dir)",
                folder.display()
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("locking {} failed", path.display()));
            }
        }
        let mut text = String::new();
        lock.read_to_string(&mut text).context("reading the IDs of earlier workers failed")?;
        let predecessors =
            text.split_whitespace().map(|name| WorkerId::from_stored(name.to_owned())).collect();
        Ok(Self { lock, predecessors })
    }

    /// Stores this worker's ID, before those it has yet to take over from, for the next start. Must be called before the
    /// worker owns anything.
    pub fn sign(&mut self, worker: &WorkerId) -> anyhow::Result<()> {
        let earlier: String = self.predecessors.iter().map(|name| format!("{name}\n")).collect();
        // A kill between the write and the truncation leaves all IDs or more.
        self.lock.rewind()?;
        self.lock.write_all(format!("{worker}\n{earlier}").as_bytes())?;
        let end = self.lock.stream_position()?;
        self.lock.set_len(end)?;
        Ok(self.lock.sync_data()?)
    }

    /// Forgets predecessors after everything of theirs has been taken over. `remaining` are those whose labels are still
    /// on containers, because a label never changes.
    pub fn inherit(&mut self, worker: &WorkerId, remaining: Vec<WorkerId>) -> anyhow::Result<()> {
        self.predecessors = remaining;
        self.sign(worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_dies_during_the_takeover_leaves_all_ids() {
        let folder = tempfile::tempdir().unwrap();
        let ids = [(); 3].map(|()| WorkerId::generate());
        for id in &ids {
            DataDir::open(folder.path()).unwrap().sign(id).unwrap();
        }
        let mut data_dir = DataDir::open(folder.path()).unwrap();
        assert_eq!(data_dir.predecessors, [ids[2].clone(), ids[1].clone(), ids[0].clone()]);
        data_dir.inherit(&ids[2], vec![ids[0].clone()]).unwrap();
        drop(data_dir);
        assert_eq!(DataDir::open(folder.path()).unwrap().predecessors, [ids[2].clone(), ids[0].clone()]);
    }
}
