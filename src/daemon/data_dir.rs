//! The data folder: one daemon at a time, and the names of those before.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, bail};

use crate::execution::WorkerId;

/// A data folder that this process owns until it ends, however it ends: the kernel lets go of the
/// lock. Whoever held it before is gone for certain, so what it ran may be taken over at once.
pub(crate) struct DataDir {
    lock: File,
    /// More than one when some died before they had taken over from those before, or a run outlived several.
    pub predecessors: Vec<WorkerId>,
}

impl DataDir {
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("data_dir {} can't be made", folder.display()))?;
        let path = folder.join("worker.lock");
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("{} can't be opened", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another rgridd uses the data folder {}: stop it, or give this one a folder of its own \
                 (data_dir, --data-dir)",
                folder.display()
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} can't be locked", path.display()));
            }
        }
        let mut text = String::new();
        lock.read_to_string(&mut text).context("the names of former workers can't be read")?;
        let predecessors =
            text.split_whitespace().map(|name| WorkerId::from_stored(name.to_owned())).collect();
        Ok(Self { lock, predecessors })
    }

    /// Leaves this worker's id to the next start, with those from which it has yet to take over. Must come before
    /// the worker owns anything.
    pub fn sign(&mut self, worker: &WorkerId) -> anyhow::Result<()> {
        let earlier: String = self.predecessors.iter().map(|name| format!("{name}\n")).collect();
        // One write, the longer text first: a kill in between leaves all names or more.
        self.lock.rewind()?;
        self.lock.write_all(format!("{worker}\n{earlier}").as_bytes())?;
        let end = self.lock.stream_position()?;
        self.lock.set_len(end)?;
        Ok(self.lock.sync_data()?)
    }

    /// Everything that those before left is taken over. `named` are those whose names its containers still carry: a
    /// label never changes, whoever follows the run.
    pub fn inherit(&mut self, worker: &WorkerId, named: Vec<WorkerId>) -> anyhow::Result<()> {
        self.predecessors = named;
        self.sign(worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_dies_while_it_takes_over_leaves_all_names() {
        let folder = tempfile::tempdir().unwrap();
        let ids = [(); 3].map(|()| WorkerId::generate());
        for id in &ids {
            DataDir::open(folder.path()).unwrap().sign(id).unwrap();
        }
        let mut home = DataDir::open(folder.path()).unwrap();
        assert_eq!(home.predecessors, [ids[2].clone(), ids[1].clone(), ids[0].clone()]);
        home.inherit(&ids[2], vec![ids[0].clone()]).unwrap();
        drop(home);
        assert_eq!(DataDir::open(folder.path()).unwrap().predecessors, [ids[2].clone(), ids[0].clone()]);
    }
}
