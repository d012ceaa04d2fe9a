//! The data folder: one daemon at a time, and the name of the one before.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, bail};

use crate::execution::WorkerId;

/// A data folder that this process owns until it ends, however it ends: the kernel lets go of the
/// lock. Whoever held it before is gone for certain, so what it ran may be taken over at once.
pub(super) struct Home {
    lock: File,
    pub predecessor: Option<WorkerId>,
}

impl Home {
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
        lock.read_to_string(&mut text).context("the name of the former worker can't be read")?;
        let predecessor = Some(text.trim()).filter(|name| !name.is_empty());
        Ok(Self { lock, predecessor: predecessor.map(|name| WorkerId::from_stored(name.to_owned())) })
    }

    /// Leaves this worker's id to the next start.
    pub fn sign(&mut self, worker: &WorkerId) -> anyhow::Result<()> {
        self.lock.rewind()?;
        self.lock.set_len(0)?;
        writeln!(self.lock, "{worker}")?;
        Ok(self.lock.sync_data()?)
    }
}
